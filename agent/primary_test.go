package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
)

// writer sets one setting after the other through a machine and remembers
// which were acknowledged.
type writer struct {
	g     *group
	stop  context.CancelFunc
	done  chan struct{}
	acked []string
	count atomic.Int64
}

// write begins to write through whatever controller is up.
func (g *group) write() *writer {
	ctx, cancel := context.WithCancel(context.Background())
	w := &writer{g: g, stop: cancel, done: make(chan struct{})}
	clients := slices.Clone(g.machines)
	go func() {
		defer close(w.done)
		for i := 0; ctx.Err() == nil; i++ {
			key := fmt.Sprintf("app/k%05d", i)
			m := clients[i%len(clients)]
			if _, err := m.ConfigSet(ctx, local.ConfigSetRequest{Key: key, Value: []byte(fmt.Sprint(i))}); err == nil {
				w.acked = append(w.acked, key)
				w.count.Add(1)
			}
		}
	}()
	g.t.Cleanup(func() { cancel(); <-w.done })
	return w
}

// more waits for n more acknowledged writes.
func (w *writer) more(n int64) {
	w.g.t.Helper()
	want := w.count.Load() + n
	eventually(w.g.t, "writes are acknowledged", func() error {
		if have := w.count.Load(); have < want {
			return fmt.Errorf("%d of %d", have, want)
		}
		return nil
	})
}

// check stops the writer and looks for each acknowledged write on m.
func (w *writer) check(machines ...*machine) {
	t := w.g.t
	t.Helper()
	w.stop()
	<-w.done
	for _, m := range machines {
		list, err := m.ConfigList(m.ctx(), "app")
		if err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
		have := map[string]bool{}
		for _, e := range list {
			have[e.Key] = true
		}
		for _, key := range w.acked {
			if !have[key] {
				t.Errorf("%s: the acknowledged write of %s is lost", m.name, key)
			}
		}
	}
}

func TestPrimaryLoss(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "controller", "controller", "dea")
	w := g.write()
	w.more(10)
	old := g.primary()
	tokens := old.tokens()
	old.stop()
	next := g.primary()
	w.more(10)
	if next == old {
		t.Fatal("the dead one leads")
	}
	if next.tokens() != tokens {
		t.Error("the next Primary would give Consul and Nomad other tokens")
	}
	eventually(t, "the dea knows the new Primary", func() error {
		st, err := g.machines[3].Status(g.machines[3].ctx(), true)
		if err == nil && st.Primary != next.name {
			err = fmt.Errorf("it says %q", st.Primary)
		}
		if err == nil && (st.Redundant || len(st.Notes) == 0) {
			err = fmt.Errorf("redundant %v, notes %q", st.Redundant, st.Notes)
		}
		return err
	})
	old.start()
	g.settle()
	w.more(10)
	w.check(g.machines...)

	// Without a majority nothing is acknowledged, and the node says so.
	two := g.machines[:2]
	before := g.machines[2]
	for _, m := range two {
		m.stop()
	}
	eventually(t, "the last voter knows that there is no Primary", func() error {
		st, err := before.Status(before.ctx(), false)
		if err == nil && (st.Primary != "" || st.Healthy()) {
			err = fmt.Errorf("it says %q", st.Primary)
		}
		return err
	})
	start := time.Now()
	_, err := before.ConfigSet(before.ctx(), local.ConfigSetRequest{Key: "app/late", Value: []byte("1")})
	if err == nil {
		t.Error("a write was acknowledged without a majority")
	}
	wantError(t, err, local.CodeUnavailable, "no Primary")
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("the refusal took %s, want about 5 s", took)
	}
	for _, m := range two {
		m.start()
	}
	g.primary()
	eventually(t, "writes go on", func() error {
		_, err := before.ConfigSet(before.ctx(), local.ConfigSetRequest{Key: "app/after", Value: []byte("1")})
		return err
	})
}

// gone waits until no node of that name is in the table and all that are up
// agree.
func (g *group) gone(m *machine) {
	g.t.Helper()
	g.machines = slices.DeleteFunc(slices.Clone(g.machines), func(o *machine) bool { return o == m })
	g.settle()
	nodes, err := g.up()[0].Nodes(g.up()[0].ctx())
	if err != nil {
		g.t.Fatal(err)
	}
	for _, n := range nodes {
		if n.Name == m.name {
			g.t.Errorf("%s is still in the table", m.name)
		}
	}
}

// left checks that the machine has forgotten its membership.
func (m *machine) left() {
	m.t.Helper()
	if info, err := m.Info(m.ctx()); err != nil || info.Configured {
		m.t.Errorf("%s after leave: %+v, %v", m.name, info, err)
	}
	if diff := cmp.Diff(map[string]string{}, m.files()); diff != "" {
		m.t.Errorf("%s has files left:\n%s", m.name, diff)
	}
}

func TestLeave(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "controller", "controller", "dea")
	dea := g.machines[3]
	w := g.write()
	w.more(3)

	leave := func(m *machine) {
		t.Helper()
		var steps []string
		if err := m.Leave(m.ctx(), local.LeaveRequest{}, func(s local.Step) { steps = append(steps, s.Name+" "+s.State) }); err != nil {
			t.Fatalf("%s leaves: %v (%q)", m.name, err, steps)
		}
		m.left()
		g.gone(m)
		w.more(3)
	}
	leave(dea)
	primary := g.primary()
	leave(primary) // of three: it hands over first
	follower := g.other(g.primary())
	leave(follower)
	last := g.machines[0]
	w.check(last)
	before := last.state()
	err := last.Leave(last.ctx(), local.LeaveRequest{}, nil)
	wantError(t, err, local.CodeRefused, last.name+" is the last controller", "kato role add controller")
	after := last.state()
	before.Config, after.Config = nil, nil // a write that was broken off may come late
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the refused leave changed the cluster:\n%s", diff)
	}

	// Who left may join again, with any role.
	dea.join(last, "dea")
	primary.join(last, "controller")
	g.machines = append(g.machines, dea, primary)
	g.settle()

	if err := last.Leave(last.ctx(), local.LeaveRequest{Force: true}, nil); err != nil {
		t.Fatal(err)
	}
	last.left()
	g.gone(last)
	if g.primary() != primary {
		t.Error("the other controller has not taken over")
	}
	if err := primary.Leave(primary.ctx(), local.LeaveRequest{Force: true}, nil); err != nil {
		t.Errorf("the last controller leaves by force: %v", err)
	}
	primary.left()
}

func TestRemoveDeadNode(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "controller", "controller", "controller", "dea")
	dead := g.other(g.primary())
	dead.stop()
	dea := g.named("n5")
	dea.stop()
	p := g.primary()
	for _, m := range []*machine{dead, dea} {
		eventually(t, m.name+" is taken for dead", func() error {
			err := p.NodeRemove(p.ctx(), local.NodeRemoveRequest{Node: m.name}, nil)
			if err != nil {
				wantError(t, err, local.CodeRefused, "node "+m.name+" is up", "--force")
			}
			return err
		})
		g.gone(m)
	}
	st, err := p.Status(p.ctx(), true)
	if err != nil || len(st.Voters) != 3 || slices.Contains(st.Voters, dead.name) || !st.Redundant {
		t.Errorf("status %+v, %v", st, err)
	}
	err = p.NodeRemove(p.ctx(), local.NodeRemoveRequest{Node: p.name}, nil)
	wantError(t, err, local.CodeRefused, "this is the node itself", "stackato-agent leave")
	err = p.NodeRemove(p.ctx(), local.NodeRemoveRequest{Node: "n77"}, nil)
	wantError(t, err, local.CodeNotFound, `no node "n77"`)
}

func TestDeadVoterReplaced(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "controller", "controller", "controller")
	n1 := g.machines[0]
	if _, err := n1.ConfigSet(n1.ctx(), local.ConfigSetRequest{Key: "cluster/voter_grace_seconds", Value: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	state := func(m *machine) string { return g.primary().nodeNamed(m.name).Voter }
	var spare, dead *machine
	for _, m := range g.machines {
		switch state(m) {
		case local.VoterNonvoter:
			spare = m
		case local.VoterVoter:
			dead = m
		}
	}
	if spare == nil || dead == nil {
		t.Fatal("want 3 voters and 1 other controller")
	}
	w := g.write()
	dead.stop()
	eventually(t, "the spare controller gets the vote", func() error {
		if s, d := state(spare), state(dead); s != local.VoterVoter || d != local.VoterNonvoter {
			return fmt.Errorf("%s is %s, the dead %s is %s", spare.name, s, dead.name, d)
		}
		return nil
	})
	w.more(3)
	dead.start()
	eventually(t, "the old voter follows", func() error {
		st, err := dead.Status(dead.ctx(), true)
		switch {
		case err != nil:
			return err
		case !st.Healthy() || !st.Redundant:
			return fmt.Errorf("%+v", st)
		case state(dead) != local.VoterNonvoter:
			return errors.New("it is " + state(dead))
		}
		return nil
	})
	w.check(g.machines...)
	if got := n1.nodeNamed(dead.name).Roles; !got.Has(node.Controller) {
		t.Errorf("it lost its role: %s", got)
	}
}

func TestRemoveRefusedWithoutQuorum(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "controller", "controller")
	p := g.primary()
	dead := g.other(p)
	alive := g.other(p, dead)
	dead.stop()
	eventually(t, "gossip misses the dead one", func() error {
		if s := p.nodeNamed(dead.name).Gossip; s == "alive" || s == "suspect" {
			return errors.New("it is " + s)
		}
		return nil
	})
	before := p.state()
	err := p.NodeRemove(p.ctx(), local.NodeRemoveRequest{Node: alive.name}, nil)
	wantError(t, err, local.CodeRefused)
	if diff := cmp.Diff(before, p.state()); diff != "" {
		t.Errorf("the cluster changed:\n%s", diff)
	}
	// Leaving is another thing: the vote is handed over first.
	if err := alive.Leave(alive.ctx(), local.LeaveRequest{}, nil); err != nil {
		t.Fatalf("leave of one of two live voters: %v", err)
	}
	alive.left()
	if _, err := p.ConfigSet(p.ctx(), local.ConfigSetRequest{Key: "app/on", Value: []byte("1")}); err != nil {
		t.Errorf("the cluster does not go on: %v", err)
	}
}
