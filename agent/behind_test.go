package agent

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stackato/stackato/agent/local"
)

// TestControllerJudgesByItsTables: what a controller has written down holds for
// the next call, also while the node that runs it is not done with taking it over.
func TestControllerJudgesByItsTables(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "dea")
	n1, id := g.machines[0], g.machines[1].id()
	behind := newDirectory(n1.node().dir.get())
	behind.tables = n1.node().ownTables
	if _, err := n1.ChangeRoles(n1.ctx(), local.RoleChange{Node: "n2", Op: local.RoleAdd, Names: []string{"harbor"}}, nil); err != nil {
		t.Fatal(err)
	}
	want := roles(t, "base,dea,harbor")
	if n, ok := behind.Lookup(id); !ok || n.Roles != want {
		t.Errorf("it takes n2 for %s, %v", n.Roles, ok)
	}
	if err := n1.NodeRemove(n1.ctx(), local.NodeRemoveRequest{Node: "n2", Force: true}, nil); err != nil {
		t.Fatal(err)
	}
	if n, ok := behind.Lookup(id); ok {
		t.Errorf("it takes n2, which was removed, for %s", n.Roles)
	}
	// Tables that show less than the assignment are those of a controller that
	// starts, or is one no more.
	ahead := behind.get()
	ahead.Index = n1.node().role.cons.State().Applied() + 1000
	behind.set(ahead)
	if _, ok := behind.Lookup(id); !ok {
		t.Error("it judges by tables that are older than its assignment")
	}
}

// TestRotationWaitsForAllWhoJoined: a controller that takes the state over while
// it asks has chosen whom to ask before, and asks again.
func TestRotationWaitsForAllWhoJoined(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "dea")
	r := g.machines[0].node()
	index := r.role.cons.State().Applied()
	all := func(answer) bool { return true }
	eventually(t, "all have taken the state over", func() error {
		if pending, _ := r.notYet(t.Context(), index, all); len(pending) > 0 {
			return fmt.Errorf("%q have not", pending)
		}
		return nil
	})
	r.taken.mu.Lock()
	r.taken.index = 0
	r.taken.mu.Unlock()
	if pending, hope := r.notYet(t.Context(), index, all); !slices.Contains(pending, "n1") || !hope {
		t.Errorf("pending %q, hope %v", pending, hope)
	}
	if pending := r.spread(t.Context(), index); len(pending) > 0 {
		t.Errorf("in the end %q are pending", pending)
	}
}

// TestForwardAgain: a new controller may act on a node that does not know of its
// role yet.
func TestForwardAgain(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "dea", "controller")
	n2, n3 := g.machines[1], g.machines[2]
	dir := n2.node().dir
	knows := dir.get()
	not := knows
	not.Nodes = slices.Clone(knows.Nodes)
	for i := range not.Nodes {
		if not.Nodes[i].ID == n3.id() {
			not.Nodes[i].Roles = roles(t, "base")
		}
	}
	dir.set(not)
	before := n3.refusals(methodForward.Name)
	ctx, cancel := context.WithCancel(n3.ctx())
	defer cancel()
	go func() {
		for ctx.Err() == nil && n3.refusals(methodForward.Name) == before {
			time.Sleep(10 * time.Millisecond) // between two looks
		}
		dir.set(knows)
	}()
	if info, err := n3.OnNode("n2").Info(n3.ctx()); err != nil || info.Name != "n2" {
		t.Errorf("%+v, %v", info, err)
	}
}
