package consul

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/stackato/stackato/agent/supervise"
	"github.com/stackato/stackato/agent/supervise/serfagent"
	"github.com/stackato/stackato/agent/supervise/supervisetest"
)

func TestServersJoinAndLeave(t *testing.T) {
	cl := newCluster(t)
	ca := cl.config(t, "alpha", "127.0.0.1")
	ca.BootstrapExpect = 1
	alpha := start(t, ca, cl.management)
	supervisetest.Ready(t, alpha.child, 15*time.Second)

	cb := cl.config(t, "beta", "127.0.0.2")
	cb.RetryJoin = []string{ca.join()}
	beta := start(t, cb, cl.management)
	supervisetest.Ready(t, beta.child, 15*time.Second)
	checkListeners(t, beta)

	cc := cl.config(t, "gamma", "127.0.0.1") // a client
	cc.Server, cc.RetryJoin = false, []string{ca.join(), cb.join()}
	cc.TLS.Cert, cc.TLS.Key = cl.ca.Issue(t, "gamma", "client.dc1.consul")
	cc.AgentToken = uuid.NewString()
	if err := alpha.EnsureNodeToken(t.Context(), "gamma", uuid.NewString(), cc.AgentToken, nil); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	gamma := start(t, cc, cc.AgentToken)
	supervisetest.Ready(t, gamma.child, 15*time.Second)
	t.Logf("client in the catalog after %v", time.Since(begin))

	took := supervisetest.Eventually(t, 40*time.Second, "two voters", votersAre(alpha, ca.NodeID, cb.NodeID))
	t.Logf("two voters after another %v", took)
	ms, err := alpha.Members(t.Context())
	if err != nil || len(ms) != 3 {
		t.Fatalf("members %+v, %v", ms, err)
	}
	for _, m := range ms {
		if m.Status != "alive" || m.Server != (m.Name != "gamma") {
			t.Errorf("member %+v", m)
		}
	}
	checkForeignServer(t, cl, alpha)

	// The leader leaves; the other one goes on alone.
	leader, rest := byLeadership(t, alpha, beta)
	begin = time.Now()
	if err := leave(t, leader); err != nil {
		t.Fatal(err)
	}
	t.Logf("leader left after %v", time.Since(begin))
	if st := leader.child.Status(); st.State != supervise.Stopped || st.LastExit != "exit status 0" {
		t.Errorf("status %+v", st)
	}
	took = supervisetest.Eventually(t, 20*time.Second, "one voter", votersAre(rest, rest.NodeID))
	t.Logf("the other leads after another %v", took)
	for range 2 { // what is not there is no error
		if err := rest.RemovePeer(t.Context(), leader.NodeID); err != nil {
			t.Error(err)
		}
	}
	if err := rest.ForceLeave(t.Context(), leader.NodeName); err != nil {
		t.Error(err)
	}
	supervisetest.Eventually(t, 10*time.Second, "client without the server that left", func(ctx context.Context) error {
		return gamma.Ready(ctx, false, "gamma")
	})
	gone, err := rest.Members(t.Context())
	if err != nil || len(gone) != 2 {
		t.Errorf("members %+v, %v", gone, err)
	}
	// Its own token lets a client leave.
	if err := gamma.child.Leave(t.Context(), gamma.Leave); err != nil {
		t.Error(err)
	}
}

// byLeadership tells the leader and another server apart.
func byLeadership(t *testing.T, a, b *node) (leader, other *node) {
	t.Helper()
	peers, err := a.RaftPeers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range peers {
		if p.Leader && p.ID == b.NodeID {
			return b, a
		}
	}
	return a, b
}

func votersAre(n *node, ids ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		peers, err := n.RaftPeers(ctx)
		if err != nil {
			return err
		}
		voters := map[string]bool{}
		for _, p := range peers {
			if p.Voter {
				voters[p.ID] = true
			}
		}
		for _, id := range ids {
			if !voters[id] {
				return fmt.Errorf("%s does not vote: %+v", id, peers)
			}
		}
		if len(peers) != len(ids) {
			return fmt.Errorf("peers %+v", peers)
		}
		return nil
	}
}

// checkForeignServer starts a server with another gossip key: it must not get
// in.
func checkForeignServer(t *testing.T, cl cluster, alpha *node) {
	t.Helper()
	cl.gossip = supervisetest.GossipKey()
	c := cl.config(t, "delta", "127.0.0.2")
	c.RetryJoin = []string{alpha.join()}
	n := start(t, c, cl.management)
	supervisetest.Eventually(t, 15*time.Second, "refusal in the log", func(context.Context) error {
		b, err := os.ReadFile(c.LogFile)
		if err == nil && !strings.Contains(string(b), "Join cluster failed") &&
			!strings.Contains(string(b), "No installed keys could decrypt") {
			err = supervisetest.ErrNotYet
		}
		return err
	})
	if n.child.Status().State == supervise.Running {
		t.Error("a server with a foreign gossip key got in")
	}
	if err := n.child.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// checkListeners looks at what the process really listens on.
func checkListeners(t *testing.T, n *node) {
	t.Helper()
	want := []string{
		fmt.Sprintf("127.0.0.1:%d", n.Ports.DNS), fmt.Sprintf("127.0.0.1:%d", n.Ports.HTTP),
		fmt.Sprintf("%s:%d", n.BindAddr, n.Ports.SerfLAN), fmt.Sprintf("%s:%d", n.BindAddr, n.Ports.Server),
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, supervisetest.Listening(t, n.child.Status().PID)); diff != "" {
		t.Errorf("listens on: %s", diff)
	}
}

// leave takes a server out of the others' group, then ends it.
func leave(t *testing.T, n *node) error {
	t.Helper()
	if err := serfagent.StepDown(t.Context(), n.Client, n.NodeID); err != nil {
		return err
	}
	return n.child.Leave(t.Context(), n.Leave)
}
