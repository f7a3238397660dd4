package api

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/blob"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/logcache"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/logs"
)

// platform is an API with everything around it that the cf client needs: log-in,
// logs, and somebody who stages, runs and deploys whatever the rows ask for.
type platform struct {
	*testing.T
	api      *API
	store    *state.Store
	blobs    *blob.Dir
	server   *httptest.Server
	url      string
	bin      string
	home     string
	dir      string // with the app that is pushed
	lines    *lineStore
	running  *fakeInstances
	mu       sync.Mutex
	uploaded []int64 // size of each package upload
	// stage says how a build ends; nil is with a droplet.
	stage func(b cf.Build) (types map[string]string, failure string)
}

// xorSealer is a Sealer whose sealed values show no plain text and open with
// their own context only.
type xorSealer struct{}

func (xorSealer) Seal(plain []byte, about string) ([]byte, error) {
	out := []byte(about + "\x00")
	for _, b := range plain {
		out = append(out, b^0x55)
	}
	return out, nil
}

func (xorSealer) Open(sealed []byte, about string) ([]byte, error) {
	rest, good := bytes.CutPrefix(sealed, []byte(about+"\x00"))
	if !good {
		return nil, errors.New("sealed for something else")
	}
	out := []byte{}
	for _, b := range rest {
		out = append(out, b^0x55)
	}
	return out, nil
}

// lineStore keeps lines of logs, as a node does.
type lineStore struct {
	mu    sync.Mutex
	lines []logs.Line
}

func (l *lineStore) Append(line logs.Line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

func (l *lineStore) LogNodes(string) []string { return []string{"node"} }

func (l *lineStore) ReadLogs(_ context.Context, _ string, req logs.ReadRequest) (logs.ReadResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out logs.ReadResponse
	for _, line := range l.lines {
		if line.AppGUID == req.AppGUID && line.Time >= req.Start && (req.End == 0 || line.Time < req.End) {
			out.Lines = append(out.Lines, line)
		}
	}
	if req.Descending {
		out.Lines = out.Lines[max(0, len(out.Lines)-req.Limit):]
		for i, j := 0, len(out.Lines)-1; i < j; i, j = i+1, j-1 {
			out.Lines[i], out.Lines[j] = out.Lines[j], out.Lines[i]
		}
	} else if len(out.Lines) > req.Limit {
		out.Lines = out.Lines[:req.Limit]
	}
	return out, nil
}

// fakeInstances runs whatever is started.
type fakeInstances struct {
	store     *state.Store
	mu        sync.Mutex
	restarted []string
	crash     bool
	room      int // for instances of a process; 0 is for all
}

func (f *fakeInstances) OfProcess(guid string) []instance.Status {
	v := f.store.Local()
	p, _ := v.Process(guid)
	a, _ := v.App(p.AppGUID)
	if a.State != cf.AppStarted {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []instance.Status
	for i := range p.Instances {
		if f.room > 0 && i >= f.room {
			break
		}
		s := instance.Status{
			AllocID: fmt.Sprintf("%s-%d", guid, i), AppGUID: a.GUID, ProcessGUID: guid, ProcessType: p.Type, Version: p.Version, Index: i,
			State: instance.Running, Ready: true, Address: "10.0.0.1:20001", Since: time.Now().Add(-time.Minute), Started: time.Now().Add(-time.Minute),
			Usage: instance.Usage{CPU: 0.25, MemBytes: 10 << 20, DiskByte: 5 << 20},
		}
		if f.crash {
			s.State, s.Ready, s.Reason = instance.Crashed, false, "exited with status 1"
		}
		out = append(out, s)
	}
	return out
}

func (f *fakeInstances) OfApp(guid string) (out []instance.Status) {
	for _, p := range f.store.Local().ProcessesOfApp(guid) {
		out = append(out, f.OfProcess(p.GUID)...)
	}
	return out
}

func (f *fakeInstances) Measure(_ context.Context, guid string) []instance.Status {
	return f.OfProcess(guid)
}

func (f *fakeInstances) Restart(_ context.Context, alloc string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.restarted = append(f.restarted, alloc)
	return nil
}

func (f *fakeInstances) setCrash(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crash = on
}

// jwts is a Verifier of the tokens that platform hands out.
type jwts struct{}

func (jwts) Verify(ctx context.Context, bearer string) (Identity, error) {
	parts := strings.Split(bearer, ".")
	if len(parts) != 3 {
		return tokens{}.Verify(ctx, bearer)
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return Identity{}, err
	}
	var claims struct {
		Name string `json:"user_name"`
	}
	if err := json.Unmarshal(data, &claims); err != nil {
		return Identity{}, err
	}
	return tokens{}.Verify(ctx, claims.Name)
}

func token(w http.ResponseWriter, r *http.Request) {
	name := r.FormValue("username")
	if name == "" {
		name = "admin"
	}
	claims, _ := json.Marshal(map[string]any{
		"user_name": name, "user_id": name + "-guid", "origin": "uaa", "client_id": "cf",
		"exp": time.Now().Add(time.Hour).Unix(), "scope": []string{auth.ScopeRead, auth.ScopeWrite},
	})
	jwt := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims) + ".c2ln"
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": jwt, "refresh_token": "r", "token_type": "bearer", "expires_in": 3600, "scope": "", "jti": "j"})
}

// newPlatform starts everything, logs the client in as user dev, who is a
// developer of space dev in organization acme.
func newPlatform(t *testing.T) *platform {
	t.Helper()
	if testing.Short() {
		t.Skip("the cf client waits for seconds between its polls")
	}
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
	p := newServer(t)
	p.live()
	p.bin, p.home = bin, t.TempDir()
	p.write("index.html", "<h1>hello</h1>")
	p.cf("api", p.url)
	p.cf("auth", "dev", "secret")
	p.cf("target", "-o", "acme", "-s", "dev")
	return p
}

// newServer is newPlatform without the client.
func newServer(t *testing.T, change ...func(*Config)) *platform {
	t.Helper()
	dir, err := blob.OpenDir(blob.DirConfig{Path: t.TempDir(), Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	store := state.NewMemory()
	p := &platform{
		T: t, store: store, blobs: dir, dir: t.TempDir(), lines: &lineStore{}, running: &fakeInstances{store: store},
	}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p.url = server.URL
	config := Config{
		State: store, Verify: jwts{}, Domain: "stackato.test", ExternalURL: server.URL,
		Links:     Links{Login: server.URL, UAA: server.URL, LogCache: server.URL},
		BlobStore: dir, Packages: blob.NewPackages(dir, blob.StateIndex{State: store}, blob.Limits{}), Sealer: xorSealer{},
		Instances: p.running, Logs: p.lines, Limits: Limits{AppMemoryMB: 256, AppDiskMB: 1024},
	}
	for _, f := range change {
		f(&config)
	}
	p.api = New(config)
	mux.Handle("/", p.api.Handler())
	mux.HandleFunc("POST /v3/packages/{guid}/upload", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.uploaded = append(p.uploaded, r.ContentLength)
		p.mu.Unlock()
		p.api.Handler().ServeHTTP(w, r)
	})
	mux.HandleFunc("POST /oauth/token", token)
	mux.Handle("/api/v1/", logcache.New(logcache.Config{
		Nodes: p.lines, Allowed: func(context.Context, *http.Request, string) error { return nil },
	}))
	p.server = server
	p.seed()
	return p
}

// seed makes an organization, a space, a developer and a domain.
func (p *platform) seed() {
	p.Helper()
	ctx, at := p.Context(), time.Now().UTC()
	res := func(guid string) cf.Resource { return cf.Resource{GUID: guid, CreatedAt: at, UpdatedAt: at} }
	one := func(err error) {
		p.Helper()
		if err != nil {
			p.Fatal(err)
		}
	}
	one(p.store.CreateOrganization(ctx, cf.Organization{Resource: res("acme-guid"), Name: "acme"}))
	one(p.store.CreateSpace(ctx, cf.Space{Resource: res("dev-space"), Name: "dev", OrgGUID: "acme-guid"}))
	one(p.store.CreateSpace(ctx, cf.Space{Resource: res("other-space"), Name: "other", OrgGUID: "acme-guid"}))
	one(p.api.Seed(ctx))
	one(p.store.CreateRole(ctx, state.RoleCreation{Role: cf.Role{Resource: res("role-1"), Type: "organization_user", UserGUID: "dev-guid", OrgGUID: "acme-guid"}}))
	one(p.store.CreateRole(ctx, state.RoleCreation{Role: cf.Role{Resource: res("role-2"), Type: "space_developer", UserGUID: "dev-guid", SpaceGUID: "dev-space"}}))
}

// live stages, deploys and runs tasks until the test ends.
func (p *platform) live() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	p.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			now := workOf(p.store.Local())
			worked := false
			for _, b := range now.builds {
				worked = p.finishBuild(ctx, b) || worked
			}
			for _, d := range now.deployments {
				worked = p.stepDeployment(ctx, d) || worked
			}
			for _, t := range now.tasks {
				worked = p.stepTask(ctx, t) || worked
			}
			if worked {
				continue
			}
			more, stop := context.WithCancel(ctx)
			_ = p.store.Watch(more, func(v *state.View) {
				if !reflect.DeepEqual(workOf(v), now) {
					stop() // it came before the watch
				}
			})
			stop()
		}
	}()
}

// work is what rows ask for.
type work struct {
	builds      []cf.Build
	deployments []cf.Deployment
	tasks       []cf.Task
}

func workOf(v *state.View) work {
	return work{
		v.BuildsInState(cf.BuildStaging), v.ActiveDeployments(),
		append(append(v.TasksInState(cf.TaskPending), v.TasksInState(cf.TaskRunning)...), v.TasksInState(cf.TaskCanceling)...),
	}
}

func (p *platform) finishBuild(ctx context.Context, b cf.Build) bool {
	now := time.Now().UTC()
	types, failure := map[string]string{"web": "serve"}, ""
	p.mu.Lock()
	stage := p.stage
	p.mu.Unlock()
	if stage != nil {
		types, failure = stage(b)
	}
	p.lines.Append(logs.Line{Time: now.UnixNano(), AppGUID: b.AppGUID, SourceType: logs.SourceStaging, Message: []byte("Staging...")})
	f := state.BuildFinish{GUID: b.GUID, Error: failure, At: now}
	if failure == "" {
		content, err := p.blobs.Put(ctx, bytes.NewReader(dropletFile(b.GUID)), blob.Unlimited)
		if err != nil {
			return false
		}
		f.Droplet = &cf.Droplet{
			Resource: cf.Resource{GUID: "droplet-of-" + b.GUID, CreatedAt: now, UpdatedAt: now}, Blob: content, Stack: b.Stack, ProcessTypes: types,
			Buildpacks: []cf.DropletBuildpack{{Name: "staticfile", Version: "1.0", DetectOutput: "staticfile"}},
		}
	}
	_, err := p.store.FinishBuild(ctx, f)
	return err == nil
}

// dropletFile is a tar.gz with the file that says how the droplet starts.
func dropletFile(name string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	t := tar.NewWriter(z)
	body := []byte(`{"detected_buildpack":"` + name + `","start_command":"start-me"}`)
	_ = t.WriteHeader(&tar.Header{Name: "./staging_info.yml", Mode: 0o644, Size: int64(len(body))})
	_, _ = t.Write(body)
	_ = t.Close()
	_ = z.Close()
	return b.Bytes()
}

func (p *platform) stepDeployment(ctx context.Context, d cf.Deployment) bool {
	now := time.Now().UTC()
	if d.Reason == cf.ReasonPaused {
		return false
	}
	if d.Strategy == cf.StrategyCanary && d.CanaryStep <= max(1, len(d.CanarySteps)) && d.Reason == cf.ReasonDeploying {
		_, err := p.store.ProgressDeployment(ctx, state.DeploymentProgress{GUID: d.GUID, Pause: true, At: now})
		return err == nil
	}
	_, err := p.store.FinishDeployment(ctx, state.Target{GUID: d.GUID, At: now})
	return err == nil
}

// stepTask ends every task but one that sleeps.
func (p *platform) stepTask(ctx context.Context, t cf.Task) bool {
	u := state.TaskUpdate{GUID: t.GUID, At: time.Now().UTC()}
	switch {
	case t.State == cf.TaskPending:
		u.State = cf.TaskRunning
	case t.State == cf.TaskCanceling:
		u.State, u.FailureReason = cf.TaskFailed, "task was cancelled"
	case !strings.HasPrefix(t.Command, "sleep"):
		u.State = cf.TaskSucceeded
	default:
		return false
	}
	_, err := p.store.UpdateTask(ctx, u)
	return err == nil
}

// write puts a file into the app's folder and returns its path.
func (p *platform) write(name, content string) string {
	p.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		p.Fatal(err)
	}
	return path
}

func (p *platform) run(args ...string) (string, error) {
	cmd := exec.CommandContext(p.Context(), p.bin, args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "CF_HOME="+p.home, "CF_COLOR=false", "LANG=C", "CF_STARTUP_TIMEOUT=1", "CF_STAGING_TIMEOUT=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// cf runs the client; it must succeed.
func (p *platform) cf(args ...string) said {
	p.Helper()
	out, err := p.run(args...)
	if err != nil {
		p.Fatalf("cf %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return said{p.T, "cf " + strings.Join(args, " "), out}
}

// cfFails runs the client; it must fail.
func (p *platform) cfFails(args ...string) said {
	p.Helper()
	out, err := p.run(args...)
	if err == nil {
		p.Fatalf("cf %s succeeded:\n%s", strings.Join(args, " "), out)
	}
	return said{p.T, "cf " + strings.Join(args, " "), out}
}

// said is what a command printed.
type said struct {
	t         *testing.T
	what, out string
}

// has checks that all parts were printed.
func (s said) has(parts ...string) said {
	s.t.Helper()
	for _, part := range parts {
		if !strings.Contains(s.squeezed(), part) {
			s.t.Errorf("%s did not print %q:\n%s", s.what, part, s.out)
		}
	}
	return s
}

// lacks checks that a text was not printed.
func (s said) lacks(part string) said {
	s.t.Helper()
	if strings.Contains(s.squeezed(), part) {
		s.t.Errorf("%s printed %q:\n%s", s.what, part, s.out)
	}
	return s
}

// squeezed is the output with single spaces within lines.
func (s said) squeezed() string {
	var lines []string
	for _, l := range strings.Split(s.out, "\n") {
		lines = append(lines, strings.Join(strings.Fields(l), " "))
	}
	return strings.Join(lines, "\n")
}

// runs reports whether the version that runs of a process has the command.
func (p *platform) runs(of cf.Process, command string) bool {
	v, found := p.store.Local().ProcessVersion(of.GUID, of.Version)
	return found && v.Command == command
}

// cloud sends requests without the client.
func (p *platform) cloud() *cloud {
	return &cloud{t: p.T, api: p.api, store: p.store, server: p.server}
}

// dump is every row of the state as text.
func (p *platform) dump() []byte {
	var b bytes.Buffer
	v := p.store.Local()
	for _, rows := range []any{
		v.Apps(), v.Processes(), v.ProcessVersions(), v.Tasks(), v.ServiceInstances(), v.ServiceBindings(), v.Builds(), v.Droplets(),
		v.Packages(), v.Deployments(), v.AuditEvents(), v.JobsByState(cf.JobComplete), v.RevisionsOfApp(v.Apps()[0].GUID),
		v.Routes(), v.Destinations(),
	} {
		fmt.Fprintf(&b, "%s\n", rows) // bytes as text
	}
	return b.Bytes()
}

// staging sets how builds end.
func (p *platform) staging(f func(cf.Build) (map[string]string, string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stage = f
}

// uploads returns the size of each package upload.
func (p *platform) uploads() []int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.uploaded)
}

func (f *fakeInstances) restarts() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.restarted)
}
