package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
)

func TestVotersFollowControllers(t *testing.T) {
	t.Parallel()
	g := newGroup(t)
	n1 := g.machines[0]
	wantVoters := func(voters int, redundant bool, note string) {
		t.Helper()
		g.settle()
		eventually(t, fmt.Sprintf("%d voters", voters), func() error {
			st, err := n1.Status(n1.ctx(), true)
			if err != nil {
				return err
			}
			notes := strings.Join(st.Notes, "; ")
			if len(st.Voters) != voters || st.Redundant != redundant || !strings.Contains(notes, note) || note == "" && notes != "" {
				return fmt.Errorf("voters %v, redundant %v, notes %q", st.Voters, st.Redundant, notes)
			}
			if !st.Healthy() {
				return fmt.Errorf("not healthy: %+v", st.Nodes)
			}
			return nil
		})
	}
	wantVoters(1, false, "not redundant: 1 of 3 controllers; add machines with: stackato-agent token create")
	g.add("dea")
	wantVoters(1, false, "not redundant: 1 of 3 controllers")
	g.add("controller")
	wantVoters(1, false, "not redundant: 2 of 3 controllers; add some with: kato role add controller")
	g.add("controller")
	wantVoters(3, true, "")
	g.add("controller")
	wantVoters(3, true, "")
	g.add("controller,dea")
	wantVoters(5, true, "")

	nodes, err := n1.Nodes(n1.ctx())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		isVoter := n.Voter == local.VoterPrimary || n.Voter == local.VoterVoter
		if n.Roles.Has(node.Controller) != isVoter || n.Primary != (n.Voter == local.VoterPrimary) {
			t.Errorf("%s (%s) is %s", n.Name, n.Roles, n.Voter)
		}
	}
	// A joined node remembers every controller.
	a := g.machines[1].node().dir.get()
	if got := len(a.Controllers()); got != 5 {
		t.Errorf("the dea knows %d controllers", got)
	}
	eventually(t, "all know the voters", func() error {
		for _, m := range g.machines {
			if have := m.node().dir.get().Voters; len(have) != 5 || !slices.Equal(have, n1.node().dir.get().Voters) {
				return fmt.Errorf("%s knows %q", m.name, have)
			}
		}
		return nil
	})
	// Only controllers hold the sealing ring and the servers' secrets.
	if a.Controller != nil || g.machines[1].files()["pki/sealing.keyring"] != "" {
		t.Error("a node without the role has a controller's secrets")
	}
}
