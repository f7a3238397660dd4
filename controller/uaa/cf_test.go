package uaa

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

// cfCommand runs the real cf client with a home of its own.
type cfCommand struct {
	*testing.T
	bin, home string
}

// run runs cf and returns what it printed; it must fail or not, as said.
func (c cfCommand) run(fails bool, args ...string) string {
	c.Helper()
	cmd := exec.CommandContext(c.Context(), c.bin, args...)
	cmd.Env = append(os.Environ(), "CF_HOME="+c.home, "CF_COLOR=false", "LANG=C")
	out, err := cmd.CombinedOutput()
	if (err != nil) != fails {
		c.Fatalf("cf %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestRealClient goes with the unmodified cf client through everything that
// needs the log-in service alone.
func TestRealClient(t *testing.T) {
	bin, err := filepath.Abs("../../bin/cf")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(bin); errors.Is(err, fs.ErrNotExist) {
		if os.Getenv("STACKATO_TEST_DOCKER") == "1" { // the whole test must run
			t.Fatal("bin/cf is missing (make tools)")
		}
		t.Skip("bin/cf is missing (make tools)")
	}
	h := newHarness(t, func(c *Config) { c.Now = func() time.Time { return time.Now().UTC() } })
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	h.s.cfg.URL = server.URL
	mux.Handle("/", h.s)
	link := map[string]any{"href": server.URL}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"links": map[string]any{
			"cloud_controller_v3": map[string]any{"href": server.URL + "/v3", "meta": map[string]string{"version": "3.199.0"}},
			"login":               link, "uaa": link, "log_cache": link, "logging": link, "routing": link, "network_policy_v1": link,
			"app_ssh": map[string]any{"href": "ssh.test:2222", "meta": map[string]string{"host_key_fingerprint": strings.Repeat("x", 43), "oauth_client": "ssh-proxy"}},
		}})
	})
	v3 := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			if _, err := h.s.Verify(r.Context(), token); err != nil {
				t.Errorf("%s %s came with a bad token: %v", r.Method, r.URL, err)
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	mux.HandleFunc("GET /v3/organizations", v3(200, `{"pagination":{},"resources":[]}`))
	mux.HandleFunc("POST /v3/users", v3(201, `{"guid":"x"}`))

	c := cfCommand{t, bin, t.TempDir()}
	has := func(out, want string) {
		t.Helper()
		if !strings.Contains(out, want) {
			t.Errorf("cf printed\n%s\nwant %q in it", out, want)
		}
	}
	c.run(false, "api", server.URL, "--skip-ssl-validation")
	has(c.run(true, "auth", "admin", "wrong"), "Credentials were rejected")
	c.run(false, "auth", "admin", "secret")
	first := strings.TrimSpace(c.run(false, "oauth-token"))
	has(first, "bearer ey")
	if !h.valid(strings.TrimPrefix(first, "bearer ")) {
		t.Error("the token is not valid")
	}
	if again := strings.TrimSpace(c.run(false, "oauth-token")); again == "" {
		t.Error("no token")
	}
	has(c.run(false, "orgs"), "No orgs found")
	if code := strings.TrimSpace(c.run(false, "ssh-code")); len(code) != 43 {
		t.Errorf("ssh-code printed %q", code)
	}

	has(c.run(false, "create-user", "bob", "pw1"), "OK")
	has(c.run(false, "create-user", "bob", "pw1"), "already exists")

	bob := cfCommand{t, bin, t.TempDir()}
	bob.run(false, "api", server.URL, "--skip-ssl-validation")
	has(bob.run(false, "login", "-u", "bob", "-p", "pw1"), "bob")
	passwd := exec.CommandContext(t.Context(), bin, "passwd")
	passwd.Env = append(os.Environ(), "CF_HOME="+bob.home, "CF_COLOR=false")
	passwd.Stdin = strings.NewReader("pw1\npw2\npw2\n")
	out, err := passwd.CombinedOutput()
	if err != nil {
		t.Fatalf("cf passwd: %v\n%s", err, out)
	}
	has(string(out), "OK")
	has(bob.run(true, "auth", "bob", "pw1"), "Credentials were rejected")
	bob.run(false, "auth", "bob", "pw2")

	token := strings.TrimPrefix(strings.TrimSpace(bob.run(false, "oauth-token")), "bearer ")
	refresh := refreshTokenOf(t, bob.home)
	bob.run(false, "logout")
	if h.valid(token) {
		t.Error("the token is valid after cf logout")
	}
	h.want(h.token("grant_type", "refresh_token", "refresh_token", refresh), 401, "invalid_token", "Log in again")

	for range 5 {
		bob.run(true, "auth", "bob", "wrong")
	}
	has(bob.run(true, "auth", "bob", "pw2"), "Your account has been locked")

	h.newClient(cf.Client{ID: "ci", Grants: []string{grantClient}, Authorities: []string{"cloud_controller.read"}})
	ci := cfCommand{t, bin, t.TempDir()}
	ci.run(false, "api", server.URL, "--skip-ssl-validation")
	ci.run(false, "auth", "ci", "cs", "--client-credentials")
	has(ci.run(false, "oauth-token"), "bearer ey")
}

func refreshTokenOf(t *testing.T, home string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(home, ".cf", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct{ RefreshToken string }
	if err := json.Unmarshal(data, &config); err != nil || config.RefreshToken == "" {
		t.Fatalf("no refresh token: %v", err)
	}
	return config.RefreshToken
}
