package nomad

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/supervise"
	"github.com/stackato/stackato/agent/supervise/serfagent"
	"github.com/stackato/stackato/agent/supervise/supervisetest"
)

func TestServersJoinAndLeave(t *testing.T) {
	cl := newCluster(t)
	ca := cl.config(t, "alpha", "127.0.0.1")
	ca.BootstrapExpect = 1
	alpha := start(t, ca, cl.secret)
	supervisetest.Ready(t, alpha.child, 15*time.Second)
	if err := alpha.BootstrapACL(t.Context(), cl.secret); err != nil {
		t.Fatal(err)
	}

	cb := cl.config(t, "beta", "127.0.0.2")
	cb.RetryJoin = []string{fmt.Sprintf("127.0.0.1:%d", ca.Ports.Serf)}
	beta := start(t, cb, cl.secret)
	supervisetest.Ready(t, beta.child, 15*time.Second)
	checkListeners(t, beta)

	// A server of another cluster: right gossip key, certificate of another CA.
	foreign := newCluster(t)
	foreign.gossip = cl.gossip
	cf := foreign.config(t, "delta", "127.0.0.2")
	cf.RetryJoin = cb.RetryJoin
	delta := start(t, cf, cl.secret)

	took := supervisetest.Eventually(t, 40*time.Second, "two voters", votersAre(alpha, ca.NodeID, cb.NodeID))
	t.Logf("two voters after another %v", took)
	if st := delta.child.Status(); st.State == supervise.Running {
		t.Errorf("a server with a foreign certificate is ready: %+v", st)
	}
	if err := delta.child.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	begin := time.Now()
	if err := alpha.ForceLeave(t.Context(), "delta", ""); err != nil {
		t.Error(err)
	}
	t.Logf("forced out after %v", time.Since(begin))

	// The leader leaves; the other one goes on alone.
	leader, rest := byLeadership(t, alpha, beta)
	begin = time.Now()
	if err := leave(t, leader); err != nil {
		t.Fatal(err)
	}
	t.Logf("leader left after %v", time.Since(begin))
	if st := leader.child.Status(); st.State != supervise.Stopped || st.LastExit == "signal: killed" {
		t.Errorf("status %+v", st)
	}
	took = supervisetest.Eventually(t, 20*time.Second, "one voter", votersAre(rest, rest.NodeID))
	t.Logf("the other leads after another %v", took)
	for range 2 { // what is not there is no error
		if err := rest.RemovePeer(t.Context(), leader.NodeID); err != nil {
			t.Error(err)
		}
	}
	if err := rest.ForceLeave(t.Context(), leader.NodeName, ""); err != nil {
		t.Error(err)
	}
	supervisetest.Eventually(t, 10*time.Second, "one member", func(ctx context.Context) error {
		ms, err := rest.ServerMembers(ctx)
		if err == nil && (len(ms) != 1 || ms[0].Name != rest.NodeName+".global" || ms[0].Status != "alive") {
			err = fmt.Errorf("members %+v", ms)
		}
		return err
	})
	// Nobody is left who could take over: nothing to agree on.
	if err := leave(t, rest); err != nil {
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

// votersAre accepts exactly these voters; other peers may stand by.
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
		if len(voters) != len(ids) {
			return fmt.Errorf("peers %+v", peers)
		}
		return nil
	}
}

// checkListeners looks at what the process really listens on.
func checkListeners(t *testing.T, n *node) {
	t.Helper()
	want := []string{
		fmt.Sprintf("127.0.0.1:%d", n.Ports.HTTP),
		fmt.Sprintf("%s:%d", n.BindAddr, n.Ports.RPC), fmt.Sprintf("%s:%d", n.BindAddr, n.Ports.Serf),
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
	return n.child.StopBy(t.Context(), LeaveSignal)
}
