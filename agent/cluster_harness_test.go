package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
)

// group is several machines of one cluster.
type group struct {
	t        testing.TB
	machines []*machine
	prepare  func(*machine) // before an agent is started for the first time
}

// newGroup makes a cluster: the first machine is initialised, the others join
// with the given roles each ("controller", "dea,harbor", "").
func newGroup(t testing.TB, roles ...string) *group {
	t.Helper()
	return newGroupOf(t, func(*machine) {}, roles...)
}

// newGroupOf is newGroup of machines that are prepared.
func newGroupOf(t testing.TB, prepare func(*machine), roles ...string) *group {
	t.Helper()
	g := &group{t: t, prepare: prepare}
	first := newMachine(t, "n1")
	prepare(first)
	first.start()
	first.initialise()
	g.machines = append(g.machines, first)
	for _, r := range roles {
		g.add(r)
	}
	g.settle()
	return g
}

// add lets another machine join; roles is a list with commas.
func (g *group) add(roles string) *machine {
	g.t.Helper()
	m := newMachine(g.t, fmt.Sprintf("n%d", len(g.machines)+1))
	if g.prepare != nil {
		g.prepare(m)
	}
	m.start()
	var list []string
	if roles != "" {
		list = strings.Split(roles, ",")
	}
	m.join(g.machines[0], list...)
	g.machines = append(g.machines, m)
	g.t.Cleanup(g.cancel) // before the machines' own: all end at once
	return m
}

// cancel tells every agent to end.
func (g *group) cancel() {
	for _, m := range g.up() {
		m.cancel()
	}
}

// up lists the machines whose agent runs.
func (g *group) up() []*machine {
	return slices.DeleteFunc(slices.Clone(g.machines), func(m *machine) bool { return m.cancel == nil })
}

// settle waits until the group has as many voters as its controllers that are
// up can make, every machine works from the newest assignment, and all see
// each other in gossip.
func (g *group) settle() {
	g.t.Helper()
	eventually(g.t, "the cluster settles", func() error {
		up := g.up()
		nodes, err := up[0].Nodes(up[0].ctx())
		if err != nil {
			return err
		}
		controllers, voters := 0, 0
		for _, n := range nodes {
			if n.Roles.Has(node.Controller) && slices.ContainsFunc(up, func(m *machine) bool { return m.name == n.Name }) {
				controllers++
			}
			if n.Voter == local.VoterVoter || n.Voter == local.VoterPrimary {
				voters++
			}
		}
		if want := oddVoters(controllers); voters < want {
			return fmt.Errorf("%d voters, want %d", voters, want)
		}
		return g.agree()
	})
}

// oddVoters is how many voters n controllers are to have.
func oddVoters(n int) int {
	switch {
	case n >= 5:
		return 5
	case n >= 3:
		return 3
	}
	return min(n, 1)
}

// agree reports which machine does not know what the first one does.
func (g *group) agree() error {
	up := g.up()
	type view struct{ nodes, voters string }
	var want view
	for i, m := range up {
		r := m.node()
		if r == nil {
			return fmt.Errorf("%s %s", m.name, m.absence())
		}
		a := r.dir.get()
		have := view{fmt.Sprint(a.Nodes), fmt.Sprint(a.Voters)}
		if i == 0 {
			want = have
		}
		if have != want {
			return fmt.Errorf("%s works from another assignment:\n%v\n%v", m.name, have, want)
		}
		for _, o := range up {
			if s := r.gossipState(o.id()); s != "alive" {
				return fmt.Errorf("%s sees %s as %q", m.name, o.name, s)
			}
		}
	}
	return nil
}

// primary waits for a Primary that every running controller agrees on and
// returns it.
func (g *group) primary() *machine {
	g.t.Helper()
	var out *machine
	eventually(g.t, "a Primary", func() error {
		out = nil
		for _, m := range g.up() {
			r := m.node()
			if r == nil || r.role == nil {
				continue
			}
			if r.role.cons.LeadTerm() != 0 {
				if out != nil {
					return errors.New("there are two")
				}
				out = m
			}
		}
		if out == nil {
			return errors.New("nobody leads")
		}
		return nil
	})
	return out
}

// other returns a running machine with the controller role that is not m.
func (g *group) other(not ...*machine) *machine {
	g.t.Helper()
	for _, m := range g.up() {
		if r := m.node(); r != nil && r.role != nil && !slices.Contains(not, m) {
			return m
		}
	}
	g.t.Fatal("no other controller is up")
	return nil
}

// die stops a machine and waits until the others take it for dead.
func (g *group) die(m *machine) {
	g.t.Helper()
	id := m.id()
	m.stop()
	eventually(g.t, "gossip misses "+m.name, func() error {
		for _, o := range g.up() {
			if s := o.node().gossipState(id); s != "dead" {
				return fmt.Errorf("%s sees it as %q", o.name, s)
			}
		}
		return nil
	})
}

// state is what an operator sees of the cluster, for comparing before with
// after. What changes by itself is left out.
type state struct {
	Nodes  []local.NodeView
	Tokens []local.Token
	Config []local.ConfigEntry
}

func (m *machine) state() state {
	m.t.Helper()
	var s state
	var err error
	if s.Nodes, err = m.Nodes(m.ctx()); err != nil {
		m.t.Fatal(err)
	}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		n.Gossip, n.Primary = "", false
		if n.Voter == local.VoterPrimary { // who of the voters leads
			n.Voter = local.VoterVoter
		}
	}
	if s.Tokens, err = m.TokenList(m.ctx()); err != nil {
		m.t.Fatal(err)
	}
	if s.Config, err = m.ConfigList(m.ctx(), ""); err != nil {
		m.t.Fatal(err)
	}
	return s
}

// nodeNamed returns a node's row as m's cluster has it.
func (m *machine) nodeNamed(name string) local.NodeView {
	m.t.Helper()
	nodes, err := m.Nodes(m.ctx())
	if err != nil {
		m.t.Fatal(err)
	}
	i := slices.IndexFunc(nodes, func(n local.NodeView) bool { return n.Name == name })
	if i < 0 {
		m.t.Fatalf("no node %s", name)
	}
	return nodes[i]
}
