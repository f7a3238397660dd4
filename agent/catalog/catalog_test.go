package catalog

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/hashicorp/consul/api"
	"go.uber.org/goleak"

	"github.com/stackato/stackato/agent/supervise"
	"github.com/stackato/stackato/agent/supervise/consul"
	"github.com/stackato/stackato/agent/supervise/serfagent"
	"github.com/stackato/stackato/agent/supervise/supervisetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// role is a health endpoint that a test can make ill.
type role struct {
	*httptest.Server
	ill atomic.Bool
}

func newRole(t *testing.T) *role {
	t.Helper()
	r := &role{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if r.ill.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *role) service(name string) Service {
	return Service{
		Name: name, Address: "10.0.0.1", Port: 7300, Tags: []string{"zone=z1", "version=1.2.3"},
		CheckURL: r.URL + "/v1/roles/" + name, CheckInterval: time.Second,
	}
}

// agent is a Consul server with ACLs, as nodes run it.
type agent struct {
	consul.Config
	*consul.Client
	t     *testing.T
	child *supervise.Child
	token string // of the node
	api   *api.Client
}

func startConsul(t *testing.T) *agent {
	t.Helper()
	binary := supervisetest.Binary(t, consul.Required)
	ca := supervisetest.NewCA(t)
	cert, key := ca.Issue(t, "alpha", consulServerName, "localhost")
	p := supervisetest.Ports(t, "127.0.0.1", 4)
	dir := supervisetest.Dir(t)
	a := &agent{t: t, token: uuid.NewString(), Config: consul.Config{
		Binary: binary, Dir: filepath.Join(dir, "consul"), LogFile: filepath.Join(dir, "consul.log"), BindAddr: "127.0.0.1",
		NodeName: "alpha", NodeID: uuid.NewString(), Server: true, BootstrapExpect: 1,
		GossipKeys: []string{supervisetest.GossipKey()}, TLS: serfagent.TLSFiles{CA: ca.File, Cert: cert, Key: key},
		InitialManagement: uuid.NewString(), Stabilization: time.Second,
		Ports: consul.Ports{HTTP: p[0], DNS: p[1], SerfLAN: p[2], Server: p[3]},
	}}
	if _, err := consul.Write(a.Config); err != nil {
		t.Fatal(err)
	}
	spec, err := a.Spec()
	if err != nil {
		t.Fatal(err)
	}
	a.Client = consul.NewClient(a.HTTPAddress(), a.InitialManagement)
	t.Cleanup(a.Close)
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	a.api, err = api.NewClient(&api.Config{
		Address: a.HTTPAddress(), Scheme: "http", Token: a.InitialManagement, HttpClient: &http.Client{Transport: tr},
	})
	if err != nil {
		t.Fatal(err)
	}
	a.child, _ = supervisetest.Run(t, spec, supervise.Options{
		Ready:   func(ctx context.Context) error { return a.Ready(ctx, true, a.NodeName) },
		Prepare: func() error { _, err := consul.Write(a.Config); return err },
	})
	supervisetest.Ready(t, a.child, 20*time.Second)
	a.makeToken()
	// Consul takes entries out of the catalog with the agent's own token.
	a.AgentToken = a.token
	if err := a.SetAgentToken(t.Context(), a.token); err != nil {
		t.Fatal(err)
	}
	return a
}

const consulServerName = "server.dc1.consul"

func (a *agent) makeToken() {
	a.t.Helper()
	supervisetest.Eventually(a.t, 15*time.Second, "node token", func(ctx context.Context) error {
		return a.EnsureNodeToken(ctx, a.NodeName, uuid.NewString(), a.token, []string{"dea", "controller", "router"})
	})
}

// entry is what the catalog says of a service.
type entry struct {
	ID, Node, Address, Status string
	Port                      int
	Tags                      []string
}

func (a *agent) entries(ctx context.Context, name string) ([]entry, error) {
	list, _, err := a.api.Health().Service(name, "", false, (&api.QueryOptions{}).WithContext(ctx))
	var out []entry
	for _, e := range list {
		status := "no check"
		for _, c := range e.Checks {
			if c.ServiceID == e.Service.ID {
				status = c.Status
			}
		}
		out = append(out, entry{e.Service.ID, e.Node.Node, e.Service.Address, status, e.Service.Port, e.Service.Tags})
	}
	return out, err
}

// awaitStatus waits until the catalog shows the service once with that status,
// or not at all if status is "".
func (a *agent) awaitStatus(name, status string) entry {
	a.t.Helper()
	var out entry
	supervisetest.Eventually(a.t, 20*time.Second, fmt.Sprintf("%s %q", name, status), func(ctx context.Context) error {
		list, err := a.entries(ctx, name)
		switch {
		case err != nil:
			return err
		case status == "" && len(list) == 0:
			return nil
		case len(list) == 1 && list[0].Status == status:
			out = list[0]
			return nil
		}
		return fmt.Errorf("the catalog has %+v", list)
	})
	return out
}

func run(t *testing.T, cfg Config) *Registrar {
	t.Helper()
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	errc := make(chan error, 1)
	go func() { errc <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-errc; err != nil {
			t.Error(err)
		}
	})
	return r
}

func wait(t *testing.T, r *Registrar) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := r.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestRegistrarWithConsul(t *testing.T) {
	a := startConsul(t)
	dea, controller := newRole(t), newRole(t)
	var token atomic.Value
	token.Store(a.token)
	for name, value := range map[string]string{ // none may have influence
		"CONSUL_HTTP_ADDR": "127.0.0.1:1", "CONSUL_HTTP_TOKEN": "wrong", "CONSUL_HTTP_SSL": "true",
		"CONSUL_NAMESPACE": "elsewhere", "CONSUL_PARTITION": "elsewhere",
	} {
		t.Setenv(name, value)
	}
	r := run(t, Config{Address: a.HTTPAddress(), Token: func() string { return token.Load().(string) }, Interval: 300 * time.Millisecond})
	os.Unsetenv("CONSUL_NAMESPACE") // the test's other clients read it at each call
	os.Unsetenv("CONSUL_PARTITION")
	stranger := &api.AgentServiceRegistration{ID: "other-1", Name: "other"}
	if err := a.api.Agent().ServiceRegister(stranger); err != nil {
		t.Fatal(err)
	}
	set := func(list ...Service) {
		t.Helper()
		r.Set(list)
		wait(t, r)
	}
	if r.Synced() {
		t.Error("synced before anything was set")
	}

	set(dea.service("dea"), controller.service("controller"))
	got := a.awaitStatus("dea", api.HealthPassing)
	want := entry{"stackato-dea", "alpha", "10.0.0.1", api.HealthPassing, 7300, []string{"version=1.2.3", "zone=z1"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	a.awaitStatus("controller", api.HealthPassing)

	t.Run("check follows the role", func(t *testing.T) {
		dea.ill.Store(true)
		a.awaitStatus("dea", api.HealthCritical)
		a.awaitStatus("controller", api.HealthPassing)
		dea.ill.Store(false)
		a.awaitStatus("dea", api.HealthPassing)
	})
	t.Run("a role that is ready or becomes so need not wait for Consul to ask", func(t *testing.T) {
		seldom := func(r *role, name string) Service {
			s := r.service(name)
			s.CheckInterval = 24 * time.Hour
			return s
		}
		router := newRole(t)
		router.ill.Store(true)
		set(seldom(dea, "dea"), seldom(router, "router"), controller.service("controller"))
		a.awaitStatus("dea", api.HealthPassing)
		a.awaitStatus("router", api.HealthCritical)
		router.ill.Store(false)
		a.awaitStatus("router", api.HealthPassing)
		set(dea.service("dea"), controller.service("controller"))
	})
	t.Run("somebody removes an entry and a check", func(t *testing.T) {
		if err := a.api.Agent().ServiceDeregister("stackato-dea"); err != nil {
			t.Fatal(err)
		}
		if err := a.api.Agent().CheckDeregister("service:stackato-controller"); err != nil {
			t.Fatal(err)
		}
		supervisetest.Eventually(t, 10*time.Second, "both again", func(ctx context.Context) error {
			have, err := r.client.list(ctx)
			if err == nil && (have["stackato-dea"].digest == "" || have["stackato-controller"].status == "") {
				err = fmt.Errorf("the agent has %v", have)
			}
			return err
		})
		a.awaitStatus("dea", api.HealthPassing)
		a.awaitStatus("controller", api.HealthPassing)
	})
	t.Run("tags change, the check stays passing", func(t *testing.T) {
		s := dea.service("dea")
		s.Tags = []string{"zone=z2"}
		set(s, controller.service("controller"))
		supervisetest.Eventually(t, 10*time.Second, "new tag", func(ctx context.Context) error {
			list, err := a.entries(ctx, "dea")
			if err == nil && (len(list) != 1 || list[0].Tags[0] != "zone=z2") {
				err = fmt.Errorf("%+v", list)
			}
			if err == nil && list[0].Status != api.HealthPassing {
				t.Errorf("the check of a changed service became %s", list[0].Status)
			}
			return err
		})
	})
	t.Run("token replaced", func(t *testing.T) { checkToken(t, a, r, &token) })
	t.Run("role removed", func(t *testing.T) {
		set(controller.service("controller"))
		a.awaitStatus("dea", "")
		a.awaitStatus("controller", api.HealthPassing)
	})
	t.Run("consul comes back empty", func(t *testing.T) { checkEmptied(t, a, r) })
	t.Run("cleared", func(t *testing.T) {
		if err := a.api.Agent().ServiceRegister(stranger); err != nil {
			t.Fatal(err)
		}
		if err := r.Clear(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.awaitStatus("controller", "")
		wait(t, r)
		if list, err := a.entries(t.Context(), "other"); err != nil || len(list) != 1 {
			t.Errorf("a stranger's entry is gone: %v, %v", list, err)
		}
	})
}

// checkToken gives the Registrar a token that allows nothing, then a good one.
func checkToken(t *testing.T, a *agent, r *Registrar, token *atomic.Value) {
	token.Store(uuid.NewString())
	supervisetest.Eventually(t, 10*time.Second, "refusal", func(context.Context) error {
		if r.Err() == nil || r.Synced() {
			return supervisetest.ErrNotYet
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.Wait(ctx); err == nil || !strings.Contains(err.Error(), "consul: ") {
		t.Errorf("Wait tells nothing of the cause: %v", err)
	} else if strings.Contains(err.Error(), token.Load().(string)) {
		t.Errorf("the error shows the token: %v", err)
	}
	token.Store(a.token)
	wait(t, r)
	a.awaitStatus("dea", api.HealthPassing)
}

// checkEmptied restarts Consul without its data.
func checkEmptied(t *testing.T, a *agent, r *Registrar) {
	if err := a.child.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	supervisetest.Eventually(t, 10*time.Second, "loss seen", func(context.Context) error {
		if r.Synced() {
			return supervisetest.ErrNotYet
		}
		return nil
	})
	if err := os.RemoveAll(filepath.Join(a.Dir, "data")); err != nil {
		t.Fatal(err)
	}
	if err := a.child.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	supervisetest.Ready(t, a.child, 20*time.Second)
	a.makeToken()
	// Consul remembers for 30 s that a token does not exist.
	supervisetest.Eventually(t, 60*time.Second, "entries again", func(ctx context.Context) error {
		list, err := a.entries(ctx, "controller")
		if err == nil && (len(list) != 1 || list[0].Status != api.HealthPassing) {
			err = fmt.Errorf("%+v", list)
		}
		return err
	})
	wait(t, r)
}

func TestNothingHappensBeforeSet(t *testing.T) {
	var calls atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.Write([]byte("{}"))
	}))
	defer srv.Close()
	r := run(t, Config{Address: strings.TrimPrefix(srv.URL, "http://"), Interval: time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := r.Wait(ctx); err == nil {
		t.Error("Wait returned before Set")
	}
	if n := calls.Load(); n != 0 {
		t.Errorf("%d calls to Consul before Set: entries of an earlier process would be lost", n)
	}
	r.Set(nil)
	wait(t, r)
	if calls.Load() == 0 {
		t.Error("synced without asking Consul")
	}
}

func TestClearWithoutConsul(t *testing.T) {
	p := supervisetest.Ports(t, "127.0.0.1", 1)
	r, err := New(Config{Address: fmt.Sprintf("127.0.0.1:%d", p[0])})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Clear(t.Context()); err == nil || !strings.Contains(err.Error(), "list services") {
		t.Errorf("Clear without Consul: %v", err)
	}
	if r.Synced() {
		t.Error("synced without Consul")
	}
}

// TestSetLeavesOut: a service that cannot be is reported and the others are
// registered all the same.
func TestSetLeavesOut(t *testing.T) {
	good := Service{Name: "dea", CheckURL: "http://127.0.0.1:7302/v1/roles/dea"}
	for want, change := range map[string]func(*Service){
		"DNS label":   func(s *Service) { s.Name = "load_balancer" },
		"not between": func(s *Service) { s.Port = 70000 },
		"not an http": func(s *Service) { s.CheckURL = "https://x" },
		"is negative": func(s *Service) { s.CheckInterval = -1 },
		"named twice": func(*Service) {},
	} {
		var registered atomic.Int32
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/agent/service/register" {
				registered.Add(1)
			}
			w.Write([]byte("{}"))
		}))
		r, err := New(Config{Address: strings.TrimPrefix(srv.URL, "http://"), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		s := good
		change(&s)
		r.Set([]Service{good, s})
		if _, err := r.sync(t.Context()); err == nil || !strings.Contains(err.Error(), want) || r.Synced() {
			t.Errorf("%q: %v", want, err)
		}
		if n := registered.Load(); n != 1 {
			t.Errorf("%q: %d registrations, want that of the good one", want, n)
		}
		r.client.close()
		srv.Close()
	}
}
