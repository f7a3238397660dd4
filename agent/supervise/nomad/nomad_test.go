package nomad

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/hashicorp/nomad/api"
	"go.uber.org/goleak"

	"github.com/stackato/stackato/agent/supervise"
	"github.com/stackato/stackato/agent/supervise/serfagent"
	"github.com/stackato/stackato/agent/supervise/supervisetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a Nomad agent of a test.
type node struct {
	Config
	*Client
	child  *supervise.Child
	detach func()
}

// cluster is what the agents of one test cluster share.
type cluster struct {
	binary string
	ca     *supervisetest.CA
	gossip string
	secret string
}

func newCluster(t *testing.T) cluster {
	return cluster{
		binary: supervisetest.Binary(t, Required), ca: supervisetest.NewCA(t),
		gossip: supervisetest.GossipKey(), secret: uuid.NewString(),
	}
}

// config describes a server with ports of its own.
func (cl cluster) config(t *testing.T, name, ip string) Config {
	t.Helper()
	cert, key := cl.ca.Issue(t, name, "server.global.nomad", "client.global.nomad", "localhost")
	p := supervisetest.Ports(t, ip, 3)
	dir := supervisetest.Dir(t)
	timing := LAN()
	timing.Stabilization = time.Second
	return Config{
		Binary: cl.binary, Dir: filepath.Join(dir, "nomad"), LogFile: filepath.Join(dir, name+".log"), BindAddr: ip,
		NodeName: name, NodeID: uuid.NewString(), Server: true,
		GossipKeys: []string{cl.gossip}, TLS: serfagent.TLSFiles{CA: cl.ca.File, Cert: cert, Key: key},
		Ports: Ports{HTTP: p[0], RPC: p[1], Serf: p[2]}, Timing: timing,
	}
}

// withClient turns on the client, which needs root.
func withClient(t *testing.T, c Config) Config {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a Nomad client needs root")
	}
	c.Client = ClientConfig{
		Enabled: true, Interface: "lo", SharedEngine: true, Meta: map[string]string{"zone": "a"},
		HostVolumes: map[string]HostVolume{"fence": {Path: c.Dir}},
		Reserved:    Reserved{Memory: 64, Ports: "22"},
	}
	return c
}

// start writes the configuration and supervises the agent.
func start(t *testing.T, c Config, secret string) *node {
	t.Helper()
	if _, err := Write(c); err != nil {
		t.Fatal(err)
	}
	spec, err := c.Spec()
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Config: c, Client: NewClient(c.HTTPAddress(), secret)}
	t.Cleanup(n.Client.Close)
	n.child, n.detach = supervisetest.Run(t, spec, supervise.Options{Ready: n.Client.Ready})
	return n
}

func TestServerAndClientKilledAdoptedReconfigured(t *testing.T) {
	cl := newCluster(t)
	c := withClient(t, cl.config(t, "alpha", "127.0.0.1"))
	c.BootstrapExpect = 1
	begin := time.Now()
	n := start(t, c, cl.secret)
	st := supervisetest.Ready(t, n.child, 15*time.Second)
	if err := n.BootstrapACL(t.Context(), cl.secret); err != nil {
		t.Fatal(err)
	}
	t.Logf("usable after %v", time.Since(begin))

	t.Run("ACL", func(t *testing.T) { checkACL(t, n, cl.secret) })
	t.Run("scheduler", func(t *testing.T) { checkScheduler(t, n) })
	t.Run("node", func(t *testing.T) { checkNode(t, n) })
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
		// Whether its server knows it in time or not: sooner than Nomad itself
		// tries again.
		supervisetest.Eventually(t, 14*time.Second, "client registered again", n.Registered)
	})
	t.Run("agent restarted", func(t *testing.T) {
		n.detach()
		m := start(t, n.Config, cl.secret)
		got := supervisetest.Ready(t, m.child, 5*time.Second)
		if got.PID != st.PID || !got.Adopted {
			t.Errorf("status %+v, want process %d adopted", got, st.PID)
		}
		t.Run("configuration changed", func(t *testing.T) { checkReconfigured(t, m) })
		m.detach()
		n = m
	})
	m := start(t, n.Config, cl.secret) // stopped at the end of the test
	supervisetest.Ready(t, m.child, 15*time.Second)
	if err := m.BootstrapACL(t.Context(), cl.secret); err != nil {
		t.Errorf("the token after restarts: %v", err)
	}
}

// checkScheduler wants work to be spread, and what else an operator has set to
// stay.
func checkScheduler(t *testing.T, n *node) {
	conf := func() (out *api.SchedulerConfiguration) {
		t.Helper()
		err := n.call(t.Context(), "read", func(a *api.Client) error {
			r, _, err := a.Operator().SchedulerGetConfiguration(nil)
			if err == nil {
				out = r.SchedulerConfig
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	set := conf()
	set.PreemptionConfig.BatchSchedulerEnabled = true
	if err := n.call(t.Context(), "write", func(a *api.Client) error {
		_, _, err := a.Operator().SchedulerSetConfiguration(set, nil)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := n.SpreadLoad(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := conf()
	if first.SchedulerAlgorithm != api.SchedulerAlgorithmSpread || !first.PreemptionConfig.BatchSchedulerEnabled {
		t.Errorf("the scheduler has %+v", first)
	}
	if err := n.SpreadLoad(t.Context()); err != nil || conf().ModifyIndex != first.ModifyIndex {
		t.Errorf("the second time wrote something, or: %v", err)
	}
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

func checkACL(t *testing.T, n *node, secret string) {
	ctx := t.Context()
	if err := n.BootstrapACL(ctx, secret); err != nil {
		t.Errorf("the second time: %v", err)
	}
	if err := n.BootstrapACL(ctx, uuid.NewString()); !errors.Is(err, ErrForeignToken) {
		t.Errorf("with another secret: %v", err)
	}
	anonymous := NewClient(n.HTTPAddress(), "")
	if _, err := anonymous.NodeList(ctx); statusCode(err) != 403 {
		t.Errorf("list without a token: %v", err)
	}
	for who, c := range map[string]*Client{"nobody": anonymous, "a stranger": NewClient(n.HTTPAddress(), uuid.NewString())} {
		defer c.Close()
		err := c.call(ctx, "register", func(a *api.Client) error {
			j := api.NewBatchJob("intruder", "intruder", "global", 50)
			j.AddTaskGroup(api.NewTaskGroup("intruder", 1).AddTask(api.NewTask("intruder", "docker")))
			_, _, err := a.Jobs().Register(j, nil)
			return err
		})
		if statusCode(err) != 403 {
			t.Errorf("%s registers a job: %v", who, err)
		}
	}
	if err := anonymous.Ready(ctx); err != nil {
		t.Errorf("Ready without a token: %v", err)
	}
}

func checkNode(t *testing.T, n *node) {
	ctx := t.Context()
	var got []Node
	took := supervisetest.Eventually(t, 15*time.Second, "node registered", func(ctx context.Context) (err error) {
		got, err = n.NodeList(ctx)
		if err == nil && (len(got) != 1 || got[0].Status != "ready") {
			err = fmt.Errorf("nodes %+v", got)
		}
		return err
	})
	t.Logf("node ready after %v: %+v", took, got)
	if got[0].ID != n.NodeID || got[0].Name != n.NodeName || got[0].Address != "127.0.0.1" || !got[0].Eligible {
		t.Errorf("node %+v, want id %s", got[0], n.NodeID)
	}
	if _, err := os.Stat("/var/run/docker.sock"); err == nil {
		supervisetest.Eventually(t, 15*time.Second, "Docker", func(ctx context.Context) error { return n.NodeReady(ctx, n.NodeID) })
	}
	yes := "true"
	for range 2 {
		if err := n.SetNodeMeta(ctx, n.NodeID, map[string]*string{"role_dea": &yes, "zone": nil}); err != nil {
			t.Fatal(err)
		}
	}
	meta, err := n.NodeMeta(ctx, n.NodeID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"role_dea": "true"}, meta); diff != "" && (meta["role_dea"] != "true" || meta["zone"] != "") {
		t.Errorf("metadata %s", diff)
	}
	for _, want := range []bool{false, true} {
		if err := n.SetEligible(ctx, n.NodeID, want); err != nil {
			t.Fatal(err)
		}
		if l, err := n.NodeList(ctx); err != nil || l[0].Eligible != want {
			t.Errorf("%+v, %v; want eligible %v", l, err, want)
		}
	}
	checkDetails(t, n)
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
	if err != nil || len(k.Keys) != 1 || k.Keys[next] != 1 || k.Members != 1 {
		t.Errorf("keyring %+v, %v", k, err)
	}
	b, err := os.ReadFile(filepath.Join(n.Dir, "data", "server", "serf.keyring"))
	if err != nil || !strings.Contains(string(b), next) || strings.Contains(string(b), old) {
		t.Errorf("keyring file %v: does not have the new key alone", err)
	}
}

func checkReconfigured(t *testing.T, n *node) {
	before := n.child.Status()
	n.RetryJoin = []string{"127.0.0.9"} // needs no restart
	if err := Apply(t.Context(), n.child, n.Config); err != nil || n.child.Status().PID != before.PID {
		t.Fatalf("%v, status %+v; want the same process", err, n.child.Status())
	}
	if err := n.Ready(t.Context()); err != nil {
		t.Errorf("after a reload: %v", err)
	}
	n.RetryJoin = nil
	n.Config.Client.CPUTotal = 5000
	if err := Apply(t.Context(), n.child, n.Config); err != nil {
		t.Fatal(err)
	}
	st := awaitOther(t, n.child, before.PID)
	if st.LastExit == "signal: killed" || st.Restarts != before.Restarts {
		t.Errorf("status %+v, want a graceful restart", st)
	}
	supervisetest.Eventually(t, 15*time.Second, "node ready", func(ctx context.Context) error {
		l, err := n.NodeList(ctx)
		if err == nil && (len(l) != 1 || l[0].Status != "ready") {
			err = fmt.Errorf("nodes %+v", l)
		}
		return err
	})
}

// checkRenewal replaces the certificate's files: a reload takes them over in
// the running process.
func checkRenewal(t *testing.T, n *node, cl cluster) {
	pid := n.child.Status().PID
	addr := fmt.Sprintf("%s:%d", n.BindAddr, n.Ports.RPC)
	serial := func() (string, error) {
		s, err := cl.ca.ServerSerial(t.Context(), addr, 0x04, n.TLS.Cert, n.TLS.Key)
		if err != nil {
			return "", err
		}
		return s.String(), nil
	}
	before, err := serial()
	if err != nil {
		t.Fatal(err)
	}
	cl.ca.Issue(t, n.NodeName, "server.global.nomad", "client.global.nomad", "localhost")
	if err := n.child.Signal(t.Context(), syscall.SIGHUP); err != nil {
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
