package api

import (
	"archive/zip"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/argon2"

	"github.com/stackato/stackato/controller/blob"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/controller/uaa"
)

// office is an API with the log-in service, for clients that manage
// organizations.
type office struct {
	*testing.T
	api   *API
	store *state.Store
	url   string
}

// boss is the first administrator: admin with password "secret".
type boss struct{}

func (boss) FirstAdmin() (name, hash string, found bool) {
	salt := []byte("0123456789abcdef")
	b64 := base64.RawStdEncoding.EncodeToString
	key := argon2.IDKey([]byte("secret"), salt, 1, 8, 1, 32)
	return "admin", fmt.Sprintf("$argon2id$v=%d$m=8,t=1,p=1$%s$%s", argon2.Version, b64(salt), b64(key)), true
}

// plainSealer marks what is sealed, no more.
type plainSealer struct{}

func (plainSealer) Seal(plain []byte, about string) ([]byte, error) {
	return append([]byte(about+"\x00"), plain...), nil
}

func (plainSealer) Open(sealed []byte, about string) ([]byte, error) {
	plain, found := strings.CutPrefix(string(sealed), about+"\x00")
	if !found {
		return nil, errors.New("sealed for something else")
	}
	return []byte(plain), nil
}

// fromUAA adapts the log-in service.
type fromUAA struct{ *uaa.Server }

func (f fromUAA) Verify(ctx context.Context, bearer string) (Identity, error) {
	id, err := f.Server.Verify(ctx, bearer)
	return Identity{UserID: id.UserID, UserName: id.UserName, Origin: id.Origin, ClientID: id.ClientID, Scopes: id.Scopes}, err
}

func newOffice(t *testing.T) *office {
	t.Helper()
	var front sync.Map // the handler, once there is one
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, _ := front.Load("")
		h.(http.Handler).ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	dir, err := blob.OpenDir(blob.DirConfig{Path: t.TempDir(), Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	o := &office{T: t, store: state.NewMemory(), url: server.URL}
	login := uaa.New(uaa.Config{State: o.store, Sealer: plainSealer{}, Admin: boss{}, URL: server.URL, Rate: 1000, Burst: 1000})
	o.api = New(Config{
		State: o.store, Verify: fromUAA{login}, Domain: "stackato.test", ExternalURL: server.URL,
		Links: Links{Login: server.URL, UAA: server.URL, LogCache: server.URL}, BlobStore: dir, Sealer: plainSealer{},
	})
	mux := http.NewServeMux()
	mux.Handle("/", o.api.Handler())
	for _, path := range []string{"/login", "/oauth/", "/Users", "/Users/"} {
		mux.Handle(path, login)
	}
	front.Store("", http.Handler(mux))
	if err := o.api.Seed(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.api.RunJobs(ctx, 0) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("RunJobs ended with %v", err)
		}
	})
	return o
}

// client is the cf of one user.
type client struct {
	*testing.T
	bin, home string
}

// as logs a user in with a cf of their own.
func (o *office) as(user, password string) *client {
	o.Helper()
	bin, err := filepath.Abs("../../bin/cf")
	if err != nil {
		o.Fatal(err)
	}
	if _, err := os.Stat(bin); errors.Is(err, fs.ErrNotExist) {
		if os.Getenv("STACKATO_TEST_DOCKER") == "1" { // the whole test must run
			o.Fatal("bin/cf is missing (make tools)")
		}
		o.Skip("bin/cf is missing (make tools)")
	}
	c := &client{o.T, bin, o.TempDir()}
	c.ok("api", o.url)
	c.ok("auth", user, password)
	return c
}

func (c *client) run(args []string) (string, error) {
	cmd := exec.CommandContext(c.Context(), c.bin, args...)
	cmd.Env = append(os.Environ(), "CF_HOME="+c.home, "CF_COLOR=false", "LANG=C")
	out, err := cmd.CombinedOutput()
	return regexp.MustCompile(`[ \t]+`).ReplaceAllString(string(out), " "), err
}

// ok runs cf, which must succeed, and returns its output with single spaces.
func (c *client) ok(args ...string) string {
	c.Helper()
	out, err := c.run(args)
	if err != nil {
		c.Fatalf("cf %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// prints runs cf, which must succeed and print all of these.
func (c *client) prints(command string, wants ...string) {
	c.Helper()
	c.mustHave(command, c.ok(strings.Fields(command)...), wants)
}

// fails runs cf, which must fail and print all of these.
func (c *client) fails(command string, wants ...string) {
	c.Helper()
	out, err := c.run(strings.Fields(command))
	if err == nil {
		c.Fatalf("cf %s succeeded:\n%s", command, out)
	}
	c.mustHave(command, out, wants)
}

func (c *client) mustHave(command, out string, wants []string) {
	c.Helper()
	for _, want := range wants {
		if !strings.Contains(out, want) {
			c.Errorf("cf %s did not print %q:\n%s", command, want, out)
		}
	}
}

func TestCfOrganizationsAndSpaces(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	admin := o.as("admin", "secret")
	admin.prints("orgs", "No orgs found")
	admin.prints("create-org acme", "OK")
	admin.prints("create-org acme", "already exists", "OK")
	admin.prints("orgs", "acme")
	admin.prints("create-space dev -o acme", "OK", "Assigning role SpaceManager", "Assigning role SpaceDeveloper")
	admin.prints("create-space dev -o acme", "already exists", "OK")
	admin.prints("target -o acme -s dev", "org: acme", "space: dev")
	admin.prints("org acme", "name: acme", "domains: stackato.test", "quota: default", "spaces: dev")
	admin.prints("space dev", "name: dev", "org: acme", "apps:")
	admin.prints("rename-space dev development", "OK")
	admin.prints("rename-org acme acme2", "OK")
	admin.prints("target -o acme2 -s development", "space: development")
	admin.prints("spaces", "development")
	admin.prints("set-label org acme2 tier=gold", "OK")
	admin.prints("labels org acme2", "tier", "gold")
	admin.prints("set-label space development stage=test", "OK")
	admin.prints("labels space development", "stage", "test")
	admin.prints("unset-label org acme2 tier", "OK")
	admin.prints("labels org acme2", "No labels found")
	admin.prints("disallow-space-ssh development", "OK")
	admin.prints("space-ssh-allowed development", "disabled")
	admin.prints("curl /v3/organizations?names=acme2", `"total_results":1`)
	admin.prints("delete-space development -f", "OK")
	admin.prints("spaces", "No spaces found")
	admin.prints("delete-space development -f", "does not exist")
	admin.prints("create-space another", "OK")
	admin.prints("delete-org acme2 -f", "OK")
	admin.prints("orgs", "No orgs found")
}

func TestCfUsersAndRoles(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	admin := o.as("admin", "secret")
	admin.prints("create-org acme", "OK")
	admin.prints("create-space dev -o acme", "OK")
	admin.prints("create-user bob hunter2-and-more", "OK")
	admin.prints("create-user bob hunter2-and-more", "already exists")
	bob := o.as("bob", "hunter2-and-more")
	bob.fails("target -o acme", "Organization 'acme' not found")
	admin.prints("set-org-role bob acme OrgManager", "OK")
	admin.prints("set-org-role bob acme OrgManager", "OK", "already has role 'OrgManager'")
	admin.fails("set-org-role nobody acme OrgManager", "No user exists with the username 'nobody'")
	admin.prints("org-users acme", "ORG MANAGER", "bob")
	bob.prints("target -o acme", "org: acme")
	bob.prints("create-space mine", "OK")
	bob.fails("create-org other", "You are not authorized")
	admin.prints("set-space-role bob acme dev SpaceDeveloper", "OK")
	admin.prints("set-space-role bob acme dev SpaceAuditor", "OK")
	admin.prints("space-users acme dev", "SPACE DEVELOPER", "bob", "SPACE AUDITOR")
	admin.prints("unset-space-role bob acme dev SpaceDeveloper", "OK")
	admin.prints("unset-space-role bob acme dev SpaceDeveloper", "OK")
	admin.prints("unset-org-role bob acme OrgManager", "OK")
	bob.fails("create-space more -o acme", "You are not authorized")
	bob.prints("spaces", "dev")
	admin.prints("delete-user bob -f", "OK")
	admin.prints("delete-user bob -f", "OK")
	if out := admin.ok("space-users", "acme", "dev"); strings.Contains(out, "bob") {
		t.Errorf("bob was deleted and is shown:\n%s", out)
	}
}

func TestCfDomainsAndRoutes(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	admin := o.as("admin", "secret")
	admin.prints("create-org acme", "OK")
	admin.prints("create-space dev -o acme", "OK")
	admin.prints("create-space other -o acme", "OK")
	admin.prints("target -o acme -s dev", "space: dev")
	admin.prints("domains", "stackato.test", "shared", "http")
	admin.prints("create-shared-domain apps.test", "OK")
	admin.fails("create-shared-domain apps.test", `The domain name "apps.test" is already in use`)
	admin.fails("create-shared-domain inner.test --internal", "Internal domains are not there yet")
	admin.prints("create-private-domain acme acme.test", "OK")
	admin.prints("domains", "acme.test", "private")
	admin.prints("create-route stackato.test --hostname shop", "OK", "shop.stackato.test")
	admin.prints("create-route stackato.test --hostname shop", "already exists", "OK")
	admin.prints("create-route acme.test --hostname shop --path /buy", "OK")
	admin.fails("create-route stackato.test --hostname api", "Route conflicts with a reserved system route")
	admin.fails("create-route stackato.test", "Missing host")
	admin.prints("check-route stackato.test --hostname shop", "does exist")
	admin.prints("check-route acme.test --hostname shop", "does not exist")
	admin.prints("routes", "shop", "/buy", "acme.test")
	admin.prints("create-app web", "OK")
	admin.prints("map-route web stackato.test --hostname shop", "OK")
	admin.prints("map-route web stackato.test --hostname shop", "OK")
	admin.prints("map-route web stackato.test --hostname fresh", "OK")
	admin.prints("routes", "web")
	admin.prints("route stackato.test --hostname shop", "shop", "web")
	admin.prints("unmap-route web stackato.test --hostname shop", "OK")
	admin.prints("delete-orphaned-routes -f", "OK")
	admin.prints("check-route stackato.test --hostname shop", "does not exist")
	admin.prints("target -s other", "space: other")
	admin.fails("map-route web stackato.test --hostname fresh", "App 'web' not found")
	admin.prints("create-app thief", "OK")
	admin.fails("map-route thief stackato.test --hostname fresh", "Routes destinations must be in either the route's space or the route's shared spaces")
	admin.fails("create-route stackato.test --hostname fresh --path /a", "reserved for another space")
	admin.prints("target -s dev", "space: dev")
	admin.prints("delete-route stackato.test --hostname fresh -f", "OK")
	admin.prints("delete-route stackato.test --hostname fresh -f", "OK")
	admin.prints("set-label domain acme.test a=b", "OK")
	admin.prints("labels domain acme.test", "a", "b")
	admin.prints("delete-private-domain acme.test -f", "OK")
	admin.prints("delete-shared-domain apps.test -f", "OK")
	if out := admin.ok("domains"); strings.Contains(out, "apps.test") || strings.Contains(out, "acme.test") {
		t.Errorf("deleted domains are shown:\n%s", out)
	}
}

func TestCfQuotasFlagsAndGroups(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	admin := o.as("admin", "secret")
	admin.prints("create-org acme", "OK")
	admin.prints("create-space dev -o acme", "OK")
	admin.prints("target -o acme -s dev", "space: dev")
	admin.prints("org-quotas", "default", "unlimited")
	admin.prints("create-org-quota small -m 1G -i 512M -r 1 -a 4", "OK")
	admin.prints("create-org-quota small", "already exists")
	admin.prints("org-quota small", "1G", "512M", "routes: 1")
	admin.prints("set-org-quota acme small", "OK")
	admin.prints("org acme", "quota: small")
	admin.fails("delete-org-quota small -f", "applied to one or more organizations")
	admin.prints("create-route stackato.test --hostname a", "OK")
	admin.fails("create-route stackato.test --hostname b", "Routes quota exceeded for organization 'acme': of 1 routes none is left")
	admin.prints("update-org-quota small -r -1 -n little", "OK")
	admin.prints("create-route stackato.test --hostname b", "OK")
	admin.prints("create-space-quota tiny -m 256M -r 2", "OK")
	admin.prints("space-quotas", "tiny", "256M")
	admin.prints("set-space-quota dev tiny", "OK")
	admin.prints("space dev", "tiny")
	admin.fails("create-route stackato.test --hostname c", "Routes quota exceeded for space 'dev': of 2 routes none is left")
	admin.prints("unset-space-quota dev tiny", "OK")
	admin.prints("create-route stackato.test --hostname c", "OK")
	admin.prints("update-space-quota tiny -m 1G", "OK")
	admin.prints("delete-space-quota tiny -f", "OK")

	admin.prints("feature-flags", "route_creation", "enabled")
	admin.prints("enable-feature-flag diego_docker", "OK", "The flag diego_docker changes nothing")
	admin.prints("disable-feature-flag route_creation", "OK")
	admin.prints("feature-flag route_creation", "disabled")
	admin.fails("feature-flag nothing", "not found")
	admin.prints(`set-running-environment-variable-group {"A":"b"}`, "OK")
	admin.prints("running-environment-variable-group", "A", "b")
	admin.prints("staging-environment-variable-group", "No staging environment variable group has been set")

	admin.prints("isolation-segments", "Getting isolation segments")
	admin.prints("security-groups", "No security groups found")
	admin.prints("marketplace", "No service offerings found")
	admin.fails("create-security-group x /dev/null", "")
	admin.fails("create-isolation-segment x", "\nIsolation segments are not there yet.")
	admin.prints("router-groups", "No router groups found")
}

func TestCfBuildpacksAndStacks(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	admin := o.as("admin", "secret")
	admin.prints("stacks", "stackato")
	admin.prints("stack stackato", "name: stackato")
	admin.fails("update-stack stackato --state DEPRECATED", "stacks that are not to be used any more are not there yet")
	admin.prints("update-stack stackato --state ACTIVE", "OK")
	admin.prints("buildpacks", "1 staticfile_buildpack", "5 binary_buildpack")

	pack := filepath.Join(t.TempDir(), "own.zip")
	writeZip(t, pack, "bin/detect", "bin/compile")
	admin.prints("create-buildpack own "+pack+" 2", "OK")
	admin.prints("buildpacks", "2 own", "own.zip", "3 nodejs_buildpack", "6 binary_buildpack")
	admin.prints("update-buildpack own -i 1 --disable", "OK")
	admin.prints("buildpacks", "1 own", "2 staticfile_buildpack")
	admin.prints("update-buildpack own --lock", "OK")
	admin.fails("update-buildpack own -p "+pack, "locked")
	admin.prints("update-buildpack own --unlock", "OK")
	admin.prints("update-buildpack own --rename mine", "OK")
	admin.prints("set-label buildpack mine a=b", "OK")
	admin.prints("labels buildpack mine", "a", "b")
	bad := filepath.Join(t.TempDir(), "bad.zip")
	if err := os.WriteFile(bad, []byte("no zip"), 0o600); err != nil {
		t.Fatal(err)
	}
	admin.fails("update-buildpack mine -p " + bad)
	empty := filepath.Join(t.TempDir(), "empty.zip")
	writeZip(t, empty, "readme")
	admin.fails("update-buildpack mine -p "+empty, "no folder bin")
	admin.prints("delete-buildpack mine -f", "OK")
	admin.prints("delete-buildpack mine -f", "not found", "OK")
	admin.prints("buildpacks", "1 staticfile_buildpack", "5 binary_buildpack")
}

// writeZip makes a zip with files of random content.
func writeZip(t *testing.T, path string, names ...string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	for _, n := range names {
		w, err := z.Create(n)
		if err != nil {
			t.Fatal(err)
		}
		content := make([]byte, 100)
		_, _ = rand.Read(content)
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
}
