package cluster

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/node"
)

const testGrace = 30 * time.Second

// group describes controllers in words: "a* b c-" are three controllers, the
// oldest first, each with these marks behind its name:
//
//   - voter   + non-voter in the group that has caught up   ~ one that has not
//   - dead for long   . dead just now   ! leaving   ? not reported
//     x not a controller any more, ^ not even a node
func group(t *testing.T, text string) ([]consensus.Server, []candidate) {
	t.Helper()
	var servers []consensus.Server
	var cands []candidate
	for i, word := range strings.Fields(text) {
		id, marks := node.ID(word[:1]), word[1:]
		has := func(m string) bool { return strings.Contains(marks, m) }
		c := candidate{
			Node:  node.Node{ID: id, Address: "10.0.0.1", RPCPort: 7300 + i, JoinedAt: time.Unix(int64(i), 0), Leaving: has("!")},
			alive: !has("-") && !has("."), voter: has("*"), caughtUp: has("+"), inRaft: strings.ContainsAny(marks, "*+~"),
			unreported: has("?"), former: has("x"),
		}
		if has("-") {
			c.deadFor = testGrace + time.Second
		}
		if c.inRaft {
			servers = append(servers, consensus.Server{ID: id, Address: c.RPCAddr(), Voter: c.voter})
		}
		if !has("^") {
			cands = append(cands, c)
		}
	}
	slices.Reverse(cands) // the plan must not rely on their order
	return servers, cands
}

func TestPlanVoters(t *testing.T) {
	tests := []struct {
		name, group string
		want        string // "" if nothing is to be done
	}{
		{"one is enough", "a*", ""},
		{"a newcomer is added without a vote", "a* b", "add b"},
		{"one that has not reported is not", "a* b?", ""},
		{"and does not hold up the next", "a* b? c", "add c"},
		{"nor a vote that is due", "a* b* c*! d+ e?", "demote c"},
		{"two make one voter", "a* b+", ""},
		{"three make three", "a* b+ c+", "promote b"},
		{"the third follows", "a* b* c+", "promote c"},
		{"four make three", "a* b* c* d+", ""},
		{"five make five", "a* b* c* d+ e+", "promote d"},
		{"six make five", "a* b* c* d* e* f+", ""},
		{"one of three behind: no even group", "a* b+ c~", ""},
		{"one of five behind: three vote", "a* b+ c+ d+ e~", "promote b"},
		{"and no fourth", "a* b* c* d+ e~", ""},
		{"no vote for one that is behind", "a* b~ c~", ""},
		{"no vote for a dead one", "a* b+- c+-", ""},
		{"dead within grace stays", "a* b* c*. d+", ""},
		{"dead for long is replaced", "a* b* c*- d+", "demote c"},
		{"by the live one", "a* b* c~- d+", "promote d"},
		{"not without a spare", "a* b* c*-", ""},
		{"not by one that is behind", "a* b* c*- d~", ""},
		{"the returned one stays without a vote", "a* b* c+ d*", ""},
		{"two of three dead: nothing can be done", "a* b*- c*- d+", ""},
		{"a role lost: the vote goes first", "a* b* c*x d+", "demote c"},
		{"then the place", "a* b* c+x", "remove c"},
		{"two lost it at once", "a* b*x c*x", "demote b"},
		{"a removed node is as good as dead", "a* b*^ c*^", ""},
		{"and goes when a majority is there", "a* b* c*^", "demote c"},
		{"three without one make one", "a* b* c~x", "remove c"},
		{"the even group shrinks", "a* b*", "demote b"},
		{"the dead one of an even group goes", "a* b*. c* d*", "demote b"},
		{"leaving loses its vote", "a* b* c*!", "demote c"},
		{"leaving loses its place", "a* b* c+!", "remove c"},
		{"leaving is not added", "a* b!", ""},
		{"a leaving vote that is needed stays", "a* b*! c*.", "demote c"},
		{"the leader leaves: the other gets a vote", "a*! b+", "promote b"},
		{"then it hands over", "a*! b*", "hand over b"},
		{"not to a dead one", "a*! b*. c*", "demote b"},
		{"the leader lost the role", "a*x b* c*", "demote c"},
		{"and hands over", "a*x b*", "hand over b"},
		{"the last controller leaves by force", "a*!", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			servers, cands := group(t, tt.group)
			got := ""
			if a, ok := planVoters("a", servers, cands, testGrace); ok {
				got = a.kind + " " + string(a.id)
				i := slices.IndexFunc(cands, func(c candidate) bool { return c.ID == a.id })
				if i >= 0 && a.addr != cands[i].RPCAddr() || a.addr == "" {
					t.Errorf("address %q", a.addr)
				}
			}
			if got != tt.want {
				t.Errorf("%s: got %q, want %q", tt.group, got, tt.want)
			}
		})
	}
}

func TestTargetVoters(t *testing.T) {
	for n, want := range []int{0, 1, 1, 3, 3, 5, 5, 5} {
		if got := targetVoters(n); got != want {
			t.Errorf("targetVoters(%d) = %d, want %d", n, got, want)
		}
	}
}

// votersModel is a Raft group, its controllers, and a leader that follows the
// plan.
type votersModel struct {
	t       *rapid.T
	clock   int64
	leader  node.ID
	servers []consensus.Server
	cands   []candidate
}

func (m *votersModel) server(id node.ID) int {
	return slices.IndexFunc(m.servers, func(s consensus.Server) bool { return s.ID == id })
}

func (m *votersModel) cand(id node.ID) *candidate {
	i := slices.IndexFunc(m.cands, func(c candidate) bool { return c.ID == id })
	if i < 0 {
		return nil
	}
	return &m.cands[i]
}

func (m *votersModel) alive(id node.ID) bool {
	c := m.cand(id)
	return id == m.leader || c != nil && c.alive
}

func (m *votersModel) votes() (live, total int) {
	for _, s := range m.servers {
		if s.Voter {
			total++
			if m.alive(s.ID) {
				live++
			}
		}
	}
	return live, total
}

func (m *votersModel) hasMajority() bool {
	live, total := m.votes()
	return live > total/2
}

// sync copies the group into the candidates, as the Primary does.
func (m *votersModel) sync() {
	m.cands = slices.DeleteFunc(m.cands, func(c candidate) bool { return c.former && m.server(c.ID) < 0 })
	for i := range m.cands {
		c := &m.cands[i]
		s := m.server(c.ID)
		c.inRaft, c.voter = s >= 0, s >= 0 && m.servers[s].Voter
	}
}

func (m *votersModel) apply(a voterAction) {
	t := m.t
	i := m.server(a.id)
	c := m.cand(a.id)
	switch a.kind {
	case "add":
		if i >= 0 || c == nil || !c.stays() || c.unreported {
			t.Fatalf("%v: not one to add", a)
		}
		m.servers = append(m.servers, consensus.Server{ID: a.id, Address: a.addr})
		c.caughtUp = c.caughtUp && c.alive
	case "promote":
		if i < 0 || m.servers[i].Voter || c == nil || !c.stays() || !c.alive || !c.caughtUp {
			t.Fatalf("%v: not one to promote", a)
		}
		for _, o := range m.cands {
			if o.inRaft && !o.voter && o.stays() && o.alive && o.caughtUp && o.JoinedAt.Before(c.JoinedAt) {
				t.Fatalf("%v: %s is older", a, o.ID)
			}
		}
		m.servers[i].Voter = true
	case "demote":
		if i < 0 || !m.servers[i].Voter || a.id == m.leader {
			t.Fatalf("%v: not one to demote", a)
		}
		m.servers[i].Voter = false
		if !m.hasMajority() {
			t.Fatalf("%v leaves no majority of live voters: %v", a, m)
		}
	case "remove":
		if i < 0 || m.servers[i].Voter || a.id == m.leader || c != nil && c.stays() {
			t.Fatalf("%v: not one to remove", a)
		}
		m.servers = slices.Delete(m.servers, i, i+1)
	case "hand over":
		if i < 0 || !m.servers[i].Voter || !m.alive(a.id) || a.id == m.leader || c == nil || !c.stays() {
			t.Fatalf("%v: not one to lead", a)
		}
		m.leader = a.id
	default:
		t.Fatalf("unknown action %v", a)
	}
	m.sync()
}

// settle follows the plan to its end, or does nothing without a majority.
func (m *votersModel) settle() {
	m.sync()
	if !m.hasMajority() {
		return
	}
	if !m.alive(m.leader) || m.server(m.leader) < 0 {
		m.t.Fatalf("no leader: %v", m)
	}
	limit := 6*(len(m.servers)+len(m.cands)) + 6
	for steps := 0; ; steps++ {
		a, ok := planVoters(m.leader, m.servers, m.cands, testGrace)
		if !ok {
			break
		}
		if steps > limit {
			m.t.Fatalf("the plan does not end: %v, next %v", m, a)
		}
		m.apply(a)
		if !m.hasMajority() {
			m.t.Fatalf("no majority after %v: %v", a, m) // a hand-over can cost the stranger's own vote
		}
	}
	m.check()
}

// demotable reports whether a voter could lose its vote without harm.
func (m *votersModel) demotable(id node.ID) bool {
	i := m.server(id)
	if i < 0 || !m.servers[i].Voter || id == m.leader {
		return false
	}
	m.servers[i].Voter = false
	defer func() { m.servers[i].Voter = true }()
	live, total := m.votes()
	return total > 0 && live > total/2
}

// check looks at a group that the plan leaves as it is.
func (m *votersModel) check() {
	t := m.t
	var staying, voters, spares int
	everyoneFit, canShrink := true, false
	for _, c := range m.cands {
		if !c.stays() {
			continue
		}
		staying++
		everyoneFit = everyoneFit && c.alive && c.caughtUp && !c.unreported
		if c.inRaft && !c.voter && c.alive && c.caughtUp {
			spares++
		}
		if c.voter {
			voters++
			canShrink = canShrink || m.demotable(c.ID)
		}
		if !c.inRaft && !c.unreported {
			t.Fatalf("%s is not in the group: %v", c.ID, m)
		}
		if c.voter && !c.alive && c.deadFor > testGrace && spares > 0 && m.demotable(c.ID) {
			t.Fatalf("dead %s keeps its vote beside a spare: %v", c.ID, m)
		}
	}
	if canShrink && voters%2 == 0 {
		t.Fatalf("an even group of %d: %v", voters, m)
	}
	if canShrink && voters > targetVoters(staying) {
		t.Fatalf("%d voters of %d controllers: %v", voters, staying, m)
	}
	if everyoneFit && voters != targetVoters(staying) {
		t.Fatalf("%d fit controllers have %d voters: %v", staying, voters, m)
	}
	for _, s := range m.servers {
		c := m.cand(s.ID)
		if c != nil && c.stays() {
			continue
		}
		if !s.Voter || s.ID != m.leader && m.demotable(s.ID) {
			t.Fatalf("%s is still in the group: %v", s.ID, m)
		}
		if s.ID == m.leader && slices.ContainsFunc(m.cands, func(o candidate) bool { return o.voter && o.alive && o.stays() }) {
			t.Fatalf("%s still leads: %v", s.ID, m)
		}
	}
	// What need not be asked: how far non-voters are, when that would not
	// change anything (see Primary.plan).
	if a, ok := planVoters(m.leader, m.servers, optimistic(m.cands), testGrace); !ok {
		if b, ok := planVoters(m.leader, m.servers, m.cands, testGrace); ok {
			t.Fatalf("optimism hides %v (%v): %v", b, a, m)
		}
	}
}

func (m *votersModel) String() string {
	out := []string{"leader " + string(m.leader)}
	for _, s := range m.servers {
		out = append(out, fmt.Sprintf("server %s voter=%v", s.ID, s.Voter))
	}
	for _, c := range m.cands {
		out = append(out, fmt.Sprintf("controller %s alive=%v dead=%s leaving=%v former=%v caughtUp=%v", c.ID, c.alive, c.deadFor, c.Leaving, c.former, c.caughtUp))
	}
	return strings.Join(out, "; ")
}

// elect gives the group a leader if it can have one.
func (m *votersModel) elect() {
	if c := m.cand(m.leader); c != nil && c.alive && m.hasMajority() {
		return
	}
	m.leader = ""
	if !m.hasMajority() {
		return
	}
	for _, s := range m.servers {
		if s.Voter && m.alive(s.ID) {
			m.leader = s.ID
			return
		}
	}
}

func (m *votersModel) pick(what string, ok func(candidate) bool) *candidate {
	var ids []node.ID
	for _, c := range m.cands {
		if ok(c) {
			ids = append(ids, c.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return m.cand(rapid.SampledFrom(ids).Draw(m.t, what))
}

func (m *votersModel) staying() int {
	n := 0
	for _, c := range m.cands {
		if c.stays() {
			n++
		}
	}
	return n
}

func (m *votersModel) newNode() candidate {
	m.clock++
	return candidate{
		Node:  node.Node{ID: node.ID(fmt.Sprintf("n%02d", m.clock)), Address: "10.0.0.1", RPCPort: int(m.clock), JoinedAt: time.Unix(m.clock, 0)},
		alive: true, caughtUp: true,
	}
}

func TestPlanVotersProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &votersModel{t: t}
		m.cands = []candidate{m.newNode()}
		m.leader = m.cands[0].ID
		m.servers = []consensus.Server{{ID: m.leader, Address: m.cands[0].RPCAddr(), Voter: true}}
		act := func(f func()) func(*rapid.T) {
			return func(*rapid.T) {
				f()
				m.sync()
				m.elect()
				if m.leader != "" {
					m.settle()
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"join": act(func() {
				if len(m.cands) < 9 {
					m.cands = append(m.cands, m.newNode())
				}
			}),
			"joinBehind": act(func() {
				if len(m.cands) < 9 {
					c := m.newNode()
					c.caughtUp, c.unreported = false, rapid.Bool().Draw(m.t, "unreported")
					m.cands = append(m.cands, c)
				}
			}),
			"leave": act(func() {
				if c := m.pick("leaves", candidate.stays); c != nil {
					c.Leaving = true
				}
			}),
			"roleLost": act(func() {
				if c := m.pick("loses the role", candidate.stays); c != nil && m.staying() > 1 {
					c.former = true
				}
			}),
			"removed": act(func() {
				c := m.pick("is removed", func(c candidate) bool { return !c.alive })
				if c != nil && (m.staying() > 1 || !c.stays()) {
					id := c.ID
					m.cands = slices.DeleteFunc(m.cands, func(o candidate) bool { return o.ID == id })
				}
			}),
			"die": act(func() {
				if c := m.pick("dies", func(c candidate) bool { return c.alive }); c != nil {
					c.alive, c.deadFor = false, time.Second
				}
			}),
			"timePasses": act(func() {
				for i := range m.cands {
					if !m.cands[i].alive {
						m.cands[i].deadFor = testGrace + time.Second
					}
				}
			}),
			"return": act(func() {
				if c := m.pick("returns", func(c candidate) bool { return !c.alive }); c != nil {
					c.alive, c.deadFor, c.caughtUp = true, 0, rapid.Bool().Draw(m.t, "caughtUp")
				}
			}),
			"catchUp": act(func() {
				if c := m.pick("catches up", candidate.stays); c != nil {
					c.caughtUp, c.unreported = true, false
				}
			}),
			"fallBehind": act(func() {
				if c := m.pick("falls behind", func(c candidate) bool { return !c.voter }); c != nil {
					c.caughtUp = false
				}
			}),
		})
	})
}

// TestGroupHeals: whoever comes back last, all are well again.
func TestGroupHeals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &votersModel{t: t}
		n := rapid.IntRange(1, 8).Draw(t, "controllers")
		for range n {
			m.cands = append(m.cands, m.newNode())
		}
		m.leader = m.cands[0].ID
		m.servers = []consensus.Server{{ID: m.leader, Address: m.cands[0].RPCAddr(), Voter: true}}
		m.settle()
		for _, i := range rapid.Permutation(slices.Collect(intsBelow(n))).Draw(t, "dying") {
			c := &m.cands[i]
			if c.ID == m.leader {
				continue
			}
			c.alive, c.deadFor = false, time.Hour
			if !m.hasMajority() {
				c.alive, c.deadFor = true, 0
				continue
			}
			m.settle()
		}
		for _, i := range rapid.Permutation(slices.Collect(intsBelow(n))).Draw(t, "returning") {
			m.cands[i].alive, m.cands[i].deadFor = true, 0
			m.settle()
		}
		if _, total := m.votes(); total != targetVoters(n) {
			t.Fatalf("%d voters of %d: %v", total, n, m)
		}
	})
}

func intsBelow(n int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}
