package consul

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/consul/api"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/stackato/stackato/agent/supervise"
	"github.com/stackato/stackato/agent/supervise/serfagent"
	"github.com/stackato/stackato/agent/supervise/supervisetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a Consul agent of a test.
type node struct {
	Config
	*Client
	child  *supervise.Child
	detach func()
}

// secrets that the agents of one test cluster share.
type cluster struct {
	binary     string
	ca         *supervisetest.CA
	gossip     string
	management string
}

func newCluster(t *testing.T) cluster {
	return cluster{
		binary: supervisetest.Binary(t, Required), ca: supervisetest.NewCA(t),
		gossip: supervisetest.GossipKey(), management: uuid.NewString(),
	}
}

// config describes an agent with ports of its own.
func (cl cluster) config(t *testing.T, name, ip string) Config {
	t.Helper()
	cert, key := cl.ca.Issue(t, name, "server.dc1.consul", "localhost")
	p := supervisetest.Ports(t, ip, 4)
	dir := supervisetest.Dir(t)
	return Config{
		Binary: cl.binary, Dir: filepath.Join(dir, "consul"), LogFile: filepath.Join(dir, name+".log"), BindAddr: ip,
		NodeName: name, NodeID: uuid.NewString(), Server: true,
		GossipKeys: []string{cl.gossip}, TLS: serfagent.TLSFiles{CA: cl.ca.File, Cert: cert, Key: key},
		InitialManagement: cl.management, Stabilization: time.Second,
		Ports: Ports{HTTP: p[0], DNS: p[1], SerfLAN: p[2], Server: p[3]},
	}
}

func (c Config) join() string { return fmt.Sprintf("%s:%d", c.BindAddr, c.Ports.SerfLAN) }

// start writes the configuration and supervises the agent.
func start(t *testing.T, c Config, token string) *node {
	t.Helper()
	if _, err := Write(c); err != nil {
		t.Fatal(err)
	}
	spec, err := c.Spec()
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Config: c, Client: NewClient(c.HTTPAddress(), token)}
	t.Cleanup(n.Client.Close)
	n.child, n.detach = supervisetest.Run(t, spec, supervise.Options{
		Ready: func(ctx context.Context) error { return n.Ready(ctx, c.Server, c.NodeName) },
	})
	return n
}

// api is a plain client of the agent.
func (n *node) api(t *testing.T, token string) *api.Client {
	t.Helper()
	cl, err := api.NewClient(&api.Config{Address: n.HTTPAddress(), Token: token})
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

func TestServerSecuredKilledAdoptedReconfigured(t *testing.T) {
	cl := newCluster(t)
	c := cl.config(t, "alpha", "127.0.0.1")
	c.BootstrapExpect = 1
	begin := time.Now()
	n := start(t, c, cl.management)
	st := supervisetest.Ready(t, n.child, 15*time.Second)
	t.Logf("usable after %v", time.Since(begin))

	t.Run("ACL", func(t *testing.T) { checkACL(t, n, cl) })
	t.Run("DNS", func(t *testing.T) { checkDNS(t, n) })
	t.Run("gossip keys", func(t *testing.T) { checkRotation(t, n) })

	t.Run("certificate renewed", func(t *testing.T) { checkRenewal(t, n, cl) })

	t.Run("killed", func(t *testing.T) {
		if err := syscall.Kill(st.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		again := awaitOther(t, n.child, st.PID)
		if again.Restarts != 1 || again.LastExit != "signal: killed" {
			t.Errorf("status %+v", again)
		}
		st = again
	})
	t.Run("agent restarted", func(t *testing.T) {
		n.detach()
		m := start(t, n.Config, cl.management)
		got := supervisetest.Ready(t, m.child, 5*time.Second)
		if got.PID != st.PID || !got.Adopted {
			t.Errorf("status %+v, want process %d adopted", got, st.PID)
		}
		n = m
		t.Run("configuration changed", func(t *testing.T) { checkReconfigured(t, n) })
		n.detach()
	})
	m := start(t, n.Config, cl.management) // stopped at the end of the test
	supervisetest.Ready(t, m.child, 15*time.Second)
}

func awaitOther(t *testing.T, c *supervise.Child, pid int) supervise.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	st, err := c.Await(ctx, func(s supervise.Status) bool {
		return s.State == supervise.Running && s.PID != pid
	})
	if err != nil {
		t.Fatalf("%v; status %+v", err, st)
	}
	return st
}

func checkACL(t *testing.T, n *node, cl cluster) {
	ctx := t.Context()
	accessor, secret := uuid.NewString(), uuid.NewString()
	for range 2 { // idempotent
		if err := n.EnsureNodeToken(ctx, n.NodeName, accessor, secret, []string{"router", "dea"}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 { // several at once, for a node that is new
		name, accessor, secret := fmt.Sprintf("twice%d", i), uuid.NewString(), uuid.NewString()
		var both errgroup.Group
		for range 4 {
			both.Go(func() error { return n.EnsureNodeToken(ctx, name, accessor, secret, []string{"router", "dea"}) })
		}
		if err := both.Wait(); err != nil {
			t.Error(err)
		}
	}
	if err := n.EnsureNodeToken(ctx, n.NodeName, accessor, uuid.NewString(), nil); !errors.Is(err, ErrTokenConflict) {
		t.Errorf("another secret for the same accessor: %v", err)
	}
	if err := n.EnsureNodeToken(ctx, n.NodeName, accessor, secret, []string{"router", "dea", "mysql"}); err != nil {
		t.Fatal(err)
	}
	// The agent takes the token over by a reload and registers its node at once.
	n.AgentToken = secret
	if err := Apply(ctx, n.child, n.Config); err != nil {
		t.Fatal(err)
	}
	took := supervisetest.Eventually(t, 10*time.Second, "node in catalog", func(ctx context.Context) error {
		return n.InCatalog(ctx, n.NodeName)
	})
	t.Logf("in the catalog after %v", took)

	own := NewClient(n.HTTPAddress(), secret)
	defer own.Close()
	if err := own.Ready(ctx, false, n.NodeName); err != nil {
		t.Errorf("Ready with the node's token: %v", err)
	}
	if err := own.Reload(ctx); err != nil {
		t.Errorf("the node's token cannot reload its agent: %v", err)
	}
	if err := own.EnsurePolicy(ctx, DNSPolicy()); err == nil {
		t.Error("the node's token writes policies")
	}
	register := func(token, service string) error {
		return n.api(t, token).Agent().ServiceRegister(&api.AgentServiceRegistration{Name: service, Port: 80})
	}
	for _, service := range []string{"router", "mysql"} {
		if err := register(secret, service); err != nil {
			t.Errorf("register %s: %v", service, err)
		}
	}
	if err := register(secret, "stranger"); err == nil {
		t.Error("registered a service that is not in the policy")
	}
	if err := register("", "router"); err == nil {
		t.Error("registered a service without a token")
	}
	// Another node's token: made, and gone again.
	other := uuid.NewString()
	if err := n.EnsureNodeToken(ctx, "beta", other, uuid.NewString(), []string{"router", "dea", "mysql"}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := n.RemoveNodeToken(ctx, "beta", other); err != nil {
			t.Fatal(err)
		}
	}
	if n.child.Status().Restarts != 0 {
		t.Errorf("status %+v", n.child.Status())
	}
}

func checkDNS(t *testing.T, n *node) {
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", n.Ports.DNS))
	}}
	if got, err := r.LookupHost(t.Context(), "router.service.consul."); err == nil {
		t.Errorf("DNS answers %v without a token", got)
	}
	secret := uuid.NewString()
	if err := n.EnsureDNSToken(t.Context(), uuid.NewString(), secret); err != nil {
		t.Fatal(err)
	}
	n.DNSToken = secret
	if err := Apply(t.Context(), n.child, n.Config); err != nil {
		t.Fatal(err)
	}
	supervisetest.Eventually(t, 10*time.Second, "DNS", func(ctx context.Context) error {
		got, err := r.LookupHost(ctx, "router.service.consul.")
		if err == nil && (len(got) != 1 || got[0] != "127.0.0.1") {
			err = fmt.Errorf("got %v", got)
		}
		return err
	})
}

func checkRotation(t *testing.T, n *node) {
	ctx := t.Context()
	next, old := supervisetest.GossipKey(), n.GossipKeys[0]
	steps := []struct {
		keys []string
		do   func(context.Context, string) error
		key  string
	}{
		{[]string{old, next}, n.KeyringInstall, next},
		{[]string{next, old}, n.KeyringUse, next},
		{[]string{next}, n.KeyringRemove, old},
	}
	for _, s := range steps {
		n.GossipKeys = s.keys
		if err := Apply(ctx, n.child, n.Config); err != nil {
			t.Fatal(err)
		}
		for range 2 { // idempotent
			if err := s.do(ctx, s.key); err != nil {
				t.Fatal(err)
			}
		}
	}
	k, err := n.KeyringList(ctx)
	if err != nil || len(k.Keys) != 1 || k.Primary[next] != k.Members || k.Members != 1 {
		t.Errorf("keyring %+v, %v", k, err)
	}
	b, err := os.ReadFile(filepath.Join(n.Dir, "data", "serf", "local.keyring"))
	if err != nil || !strings.Contains(string(b), next) || strings.Contains(string(b), old) {
		t.Errorf("keyring file %v: does not have the new key alone", err)
	}
}

func checkReconfigured(t *testing.T, n *node) {
	before := n.child.Status()
	n.Ports.DNS = supervisetest.Ports(t, "127.0.0.1", 1)[0]
	if err := Apply(t.Context(), n.child, n.Config); err != nil {
		t.Fatal(err)
	}
	st := awaitOther(t, n.child, before.PID)
	if st.LastExit == "signal: killed" || st.Restarts != before.Restarts {
		t.Errorf("status %+v, want a graceful restart", st)
	}
	if err := n.InCatalog(t.Context(), n.NodeName); err != nil {
		t.Errorf("data after the restart: %v", err)
	}
}

// checkRenewal replaces the certificate's files: a reload takes them over in
// the running process.
func checkRenewal(t *testing.T, n *node, cl cluster) {
	pid := n.child.Status().PID
	addr := fmt.Sprintf("%s:%d", n.BindAddr, n.Ports.Server)
	serial := func() (string, error) {
		s, err := cl.ca.ServerSerial(t.Context(), addr, 0x03, n.TLS.Cert, n.TLS.Key)
		if err != nil {
			return "", err
		}
		return s.String(), nil
	}
	before, err := serial()
	if err != nil {
		t.Fatal(err)
	}
	cl.ca.Issue(t, n.NodeName, "server.dc1.consul", "localhost")
	if err := serfagent.Reload(t.Context(), n.child); err != nil {
		t.Fatal(err)
	}
	supervisetest.Eventually(t, 5*time.Second, "new certificate", func(context.Context) error {
		now, err := serial()
		if err == nil && now == before {
			err = supervisetest.ErrNotYet
		}
		return err
	})
	if st := n.child.Status(); st.PID != pid {
		t.Errorf("status %+v, want the same process", st)
	}
	if _, err := n.Leader(t.Context()); err != nil {
		t.Error(err)
	}
}
