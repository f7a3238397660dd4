package agent

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
)

// TestNoStart: roles that are assigned and not started, by each of the ways, and
// started afterwards. A controller is never stopped: it would stay so.
func TestNoStart(t *testing.T) {
	t.Parallel()
	n1 := newMachine(t, "n1").start()
	if _, err := n1.Init(n1.ctx(), local.InitRequest{Roles: []string{"dea"}, NoStart: true}, nil); err != nil {
		t.Fatal(err)
	}
	g := &group{t: t, machines: []*machine{n1}}
	n2 := newMachine(t, "n2").start()
	if _, err := n2.Join(n2.ctx(), local.JoinRequest{
		Primaries: []string{n1.rpc()}, Token: n1.token(local.TokenCreateRequest{Roles: []string{"controller"}}), Roles: []string{"controller"}, NoStart: true,
	}, nil); err != nil {
		t.Fatal(err)
	}
	g.machines = append(g.machines, n2)
	t.Cleanup(g.cancel)
	g.settle()
	if _, err := n1.ChangeRoles(n1.ctx(), local.RoleChange{Node: "n2", Op: local.RoleAdd, Names: []string{"dea"}, NoStart: true}, nil); err != nil {
		t.Fatal(err)
	}
	states := func(dea, router local.State) {
		t.Helper()
		eventually(t, fmt.Sprintf("dea %s, router %s, controller running", dea, router), func() error {
			st, err := n1.Status(n1.ctx(), true)
			if err != nil {
				return err
			}
			want := map[node.Role]local.State{node.Base: local.StateRunning, node.Controller: local.StateRunning, node.DEA: dea, node.Router: router}
			for _, n := range st.Nodes {
				got := map[node.Role]local.State{}
				for _, r := range n.Roles {
					got[r.Role] = r.State
				}
				if diff := cmp.Diff(want, got); diff != "" {
					return fmt.Errorf("%s: %s", n.Name, diff)
				}
			}
			return nil
		})
	}
	states(local.StateStopped, local.StateStopped)
	for _, m := range g.machines {
		if _, err := m.ControlRoles(m.ctx(), local.RoleControl{Op: local.ControlStart}, nil); err != nil {
			t.Fatal(err)
		}
	}
	states(local.StateRunning, local.StateRunning)
}
