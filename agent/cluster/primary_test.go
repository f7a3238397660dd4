package cluster

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

// outside stands for Consul and Nomad: it says what a test wants.
type outside struct {
	voting atomic.Bool
	asked  atomic.Int64
	mu     sync.Mutex
	nodes  []node.Node // of the last question
}

// Voting implements Servers.
func (o *outside) Voting(_ context.Context, nodes []node.Node) bool {
	o.asked.Add(1)
	o.mu.Lock()
	o.nodes = nodes
	o.mu.Unlock()
	return o.voting.Load()
}

func (m *member) primary(s Servers) *Primary {
	return &Primary{Controller: m.Controller, Servers: s, Logger: slog.New(slog.DiscardHandler), Applied: m.net.applied}
}

// applied asks a member how far it is.
func (n *testNet) applied(_ context.Context, who node.Node) (uint64, error) {
	m, err := n.member(who.ID)
	if err != nil {
		return 0, err
	}
	return m.cons.State().Applied(), nil
}

// lead makes the member do the Primary's work whenever it leads.
func (m *member) leadWith(s Servers) {
	p := m.primary(s)
	m.mu.Lock()
	m.lead = p.Run
	m.mu.Unlock()
}

// admitController joins a controller and starts it; m must have a Primary's
// loop running somewhere.
func (m *member) admitController(made *NewCluster, s Servers, n node.Node) *member {
	m.t.Helper()
	self := m.admitted(n).Assignment.Self
	out := startMember(m.t, m.net, m.time, self, "", made)
	out.leadWith(s)
	return out
}

func (m *member) votersAre(what string, want ...node.Node) {
	m.t.Helper()
	eventually(m.t, what, func() bool {
		servers, _ := m.cons.Servers()
		var raft []node.ID
		for _, s := range servers {
			if s.Voter {
				raft = append(raft, s.ID)
			}
		}
		slices.Sort(raft)
		rec, _ := TheRecord(m.cons.State().Read())
		return slices.Equal(raft, ids(want...)) && slices.Equal(rec.Voters, ids(want...))
	})
}

// TestGroupFollowsControllers: real Raft members under a real Primary's loop,
// from one to four and back to one, the leader last.
func TestGroupFollowsControllers(t *testing.T) {
	servers := &outside{}
	servers.voting.Store(true)
	m, made := first(t, "")
	p := m.primary(servers)
	ctx := testContext(t)
	leading, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { p.Run(leading, m.cons.LeadTerm()) })
	stopFirst := sync.OnceFunc(func() { cancel(); wg.Wait() })
	defer stopFirst()

	n2, n3, n4 := testNode("n2", 2, node.Controller, node.Router), testNode("n3", 3, node.Controller, node.Router), testNode("n4", 4, node.Controller, node.Router)
	m2 := m.admitController(made, servers, n2)
	eventually(t, "the second one follows", func() bool { s, _ := m.cons.Servers(); return len(s) == 2 })
	m.votersAre("two make one voter", m.self)
	m.time.add(time.Second)
	m3 := m.admitController(made, servers, n3)
	m.votersAre("three make three", m.self, n2, n3)
	m.time.add(time.Second)
	m.admitController(made, servers, n4)
	eventually(t, "the fourth one follows", func() bool { s, _ := m.cons.Servers(); return len(s) == 4 })
	m.votersAre("four make three", m.self, n2, n3)

	// A dead voter is replaced after the grace time.
	m3.stop()
	m.net.setDown(n3.ID, m.time.Now())
	m.time.add(20 * time.Second)
	m.votersAre("within the grace time nothing happens", m.self, n2, n3)
	m.time.add(20 * time.Second)
	m.votersAre("the dead one is replaced", m.self, n2, n4)
	if _, err := m.RemoveNode(ctx, Caller{Controller: true}, RemoveRequest{Node: "n3"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the removed one is out", func() bool { s, _ := m.cons.Servers(); return len(s) == 3 })

	// The leader leaves: another takes over, and takes it out.
	if _, err := m.RemoveNode(ctx, Caller{ID: m.self.ID}, RemoveRequest{Node: "first", Begin: true}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second one sees that the first has handed over", func() bool {
		top, err := m2.Topology(ctx, false)
		return err == nil && top.Settled(m.self.ID)
	})
	stopFirst()
	if _, err := m2.RemoveNode(ctx, Caller{ID: m.self.ID}, RemoveRequest{Node: "first"}); err != nil {
		t.Fatal(err)
	}
	m.stop()
	top, err := m2.Topology(ctx, true)
	if err != nil || len(top.Voters) != 1 || len(top.Nonvoters) != 1 || top.Primary != top.Voters[0] {
		t.Errorf("two are left: %+v, %v", top, err)
	}
}

// A controller that never starts must not hold up the others.
func TestUnreportedControllerHoldsUpNobody(t *testing.T) {
	servers := &outside{}
	servers.voting.Store(true)
	m, made := first(t, "")
	ctx, cancel := context.WithCancel(testContext(t))
	var wg sync.WaitGroup
	p := m.primary(servers)
	wg.Go(func() { p.Run(ctx, m.cons.LeadTerm()) })
	defer wg.Wait()
	defer cancel()
	dead := testNode("dead", 2, node.DEA)
	m.admitted(dead)
	m.net.setDown(dead.ID, m.time.Now())
	if _, err := m.SetRoles(ctx, Caller{Controller: true}, RoleRequest{Node: dead.ID, Roles: m.self.Roles, Generation: 1}); err != nil {
		t.Fatal(err)
	}
	n3, n4 := testNode("n3", 3, node.Controller, node.Router), testNode("n4", 4, node.Controller, node.Router)
	m.admitController(made, servers, n3)
	m.admitController(made, servers, n4)
	m.votersAre("the others vote", m.self, n3, n4)
}

func TestWriteVoters(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	servers := &outside{}
	p := m.primary(servers)
	term := m.cons.LeadTerm()
	former := testNode("former", 2, node.Controller, node.Router)
	m.admitted(former)
	voters := func() []node.ID { rec, _ := TheRecord(m.view()); return rec.Voters }
	write := func() {
		t.Helper()
		if err := p.writeVoters(ctx, term, m.view()); err != nil {
			t.Fatal(err)
		}
	}
	index := m.cons.Stats().LastIndex
	write()
	if m.cons.Stats().LastIndex != index || servers.asked.Load() != 0 {
		t.Error("unchanged, but written or asked")
	}
	// One that votes no more keeps its servers until the others have theirs.
	both := ids(m.self, former)
	if _, err := cmdVoters.Propose(ctx, m.cons, votersInput{both}); err != nil {
		t.Fatal(err)
	}
	index = m.cons.Stats().LastIndex
	write()
	if !slices.Equal(voters(), both) || m.cons.Stats().LastIndex != index {
		t.Errorf("voters %v", voters())
	}
	if len(servers.nodes) != 1 || servers.nodes[0].ID != m.self.ID {
		t.Errorf("asked for %v, want those that stay", servers.nodes)
	}
	// A Primary that was replaced writes nothing.
	servers.voting.Store(true)
	if err := p.writeVoters(ctx, term+1, m.view()); !errors.Is(err, rpcerr.Precondition) || !slices.Equal(voters(), both) {
		t.Errorf("of another term: %v, %v", voters(), err)
	}
	write()
	if !slices.Equal(voters(), ids(m.self)) {
		t.Errorf("voters %v", voters())
	}
	// A dead one, and one that does not belong, are not waited for.
	servers.voting.Store(false)
	m.net.setDown(former.ID, m.time.Now())
	if _, err := cmdVoters.Propose(ctx, m.cons, votersInput{append(slices.Clone(both), "ghost")}); err != nil {
		t.Fatal(err)
	}
	write()
	if !slices.Equal(voters(), ids(m.self)) {
		t.Errorf("voters %v", voters())
	}
}

// A former voter keeps its servers also while the group still grows: who is
// to take its place has no vote in Raft yet, so its servers cannot have one.
func TestWriteVotersWhileTheGroupGrows(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	servers := &outside{}
	servers.voting.Store(true) // those that have a vote in Raft have it there too
	p := m.primary(servers)
	former := testNode("former", 2, node.Controller, node.Router)
	m.admitted(former)
	if _, err := m.RemoveNode(ctx, Caller{ID: former.ID}, RemoveRequest{Node: "former", Begin: true}); err != nil {
		t.Fatal(err)
	}
	third, fourth := testNode("third", 3, node.Controller, node.Router), testNode("fourth", 4, node.Controller, node.Router)
	m.admitted(third)
	m.admitted(fourth)
	both := ids(m.self, former)
	if _, err := cmdVoters.Propose(ctx, m.cons, votersInput{both}); err != nil {
		t.Fatal(err)
	}
	voters := func() []node.ID { rec, _ := TheRecord(m.view()); return rec.Voters }
	if err := p.writeVoters(ctx, m.cons.LeadTerm(), m.view()); err != nil || !slices.Equal(voters(), both) {
		t.Fatalf("voters %v, %v", voters(), err)
	}
	// Nobody grows when the others are down.
	m.net.setDown(third.ID, m.time.Now())
	m.net.setDown(fourth.ID, m.time.Now())
	if err := p.writeVoters(ctx, m.cons.LeadTerm(), m.view()); err != nil || !slices.Equal(voters(), ids(m.self)) {
		t.Fatalf("voters %v, %v", voters(), err)
	}
}

// A new Primary does not know for how long others saw a voter dead.
func TestDeadSinceCountsFromOwnBeginning(t *testing.T) {
	m := single(t)
	n := testNode("n2", 2, node.Controller, node.Router)
	m.admitted(n)
	began := m.time.Now()
	m.net.setDown(n.ID, began.Add(-time.Hour))
	p := m.primary(&outside{})
	m.time.add(10 * time.Second)
	deadFor := func() time.Duration {
		cands := p.candidates(m.view(), nil, began)
		i := slices.IndexFunc(cands, func(c candidate) bool { return c.ID == n.ID })
		return cands[i].deadFor
	}
	if got := deadFor(); got != 10*time.Second {
		t.Errorf("dead for %s", got)
	}
	m.net.setDown(n.ID, began.Add(7*time.Second))
	if got := deadFor(); got != 3*time.Second {
		t.Errorf("dead for %s", got)
	}
}

// How far non-voters are is asked only when it matters.
func TestPrimaryAsksOnlyWhenItMatters(t *testing.T) {
	m := single(t)
	asked := map[node.ID]bool{}
	var mu sync.Mutex
	p := m.primary(&outside{})
	p.Applied = func(_ context.Context, n node.Node) (uint64, error) {
		mu.Lock()
		defer mu.Unlock()
		asked[n.ID] = true
		return m.cons.State().Applied(), nil
	}
	plan := func(text string) string {
		clear(asked)
		servers, cands := group(t, text)
		for i := range cands {
			if cands[i].ID == "a" {
				cands[i].ID = m.self.ID
			}
		}
		for i := range servers {
			if servers[i].ID == "a" {
				servers[i].ID = m.self.ID
			}
		}
		for i := range cands {
			cands[i].caughtUp = false
		}
		a, _ := p.plan(testContext(t), servers, cands, testGrace)
		return a.kind + " " + string(a.id)
	}
	if got := plan("a* b* c* d~"); got != " " || len(asked) != 0 {
		t.Errorf("%q, asked %v", got, asked)
	}
	if got := plan("a* b~ c~ d~! e~-"); got != "remove d" || len(asked) != 2 {
		t.Errorf("%q, asked %v", got, asked)
	}
	if got := plan("a* b~ c~"); got != "promote b" || len(asked) != 2 {
		t.Errorf("%q, asked %v", got, asked)
	}
}
