package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/wire/rpcerr"
)

// roles makes a role set of a list with commas.
func roles(t testing.TB, list string) node.RoleSet {
	t.Helper()
	s, err := node.BuiltinGroups().Resolve(strings.Split(list, ",")...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wantRoles waits until the node named name works with the given roles, and
// every other machine knows.
func (g *group) wantRoles(name, list string) {
	g.t.Helper()
	want := roles(g.t, list)
	eventually(g.t, fmt.Sprintf("%s has the roles %s everywhere", name, want), func() error {
		for _, m := range append([]*machine{g.named(name)}, g.up()...) { // itself first
			if m.cancel == nil {
				continue
			}
			n := m.node()
			if n == nil {
				return fmt.Errorf("%s %s", m.name, m.absence())
			}
			for _, o := range n.dir.get().Nodes {
				if o.Name == name && o.Roles != want {
					return fmt.Errorf("%s knows it as %s", m.name, o.Roles)
				}
			}
			for _, o := range n.gossip.Members() {
				if o.Meta.Name == name && o.Meta.Roles != want && g.named(name).cancel != nil {
					return fmt.Errorf("%s hears it as %s", m.name, o.Meta.Roles)
				}
			}
			if m.name == name && n.dir.get().Self.Roles != want {
				return fmt.Errorf("it works as %s itself", n.dir.get().Self.Roles)
			}
		}
		return nil
	})
}

func (g *group) named(name string) *machine {
	for _, m := range g.machines {
		if m.name == name {
			return m
		}
	}
	g.t.Fatalf("no machine %s", name)
	return nil
}

func TestRoleChangeConverges(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "dea", "")
	n1, n2, n3 := g.machines[0], g.machines[1], g.machines[2]
	steps := []struct {
		change local.RoleChange
		want   string
		warn   string
	}{
		{local.RoleChange{Op: local.RoleAdd, Names: []string{"harbor"}}, "base,dea,harbor", "not installed in this release, assigned all the same: harbor"},
		{local.RoleChange{Op: local.RoleAdd, Names: []string{"data-services"}}, "base,dea,harbor,data-services", "mysql"},
		{local.RoleChange{Op: local.RoleRemove, Names: []string{"data-services", "harbor"}}, "base,dea", ""},
		{local.RoleChange{Op: local.RoleSet, Names: []string{"router"}}, "base,router", ""},
		{local.RoleChange{Op: local.RoleSet, Names: []string{"dea", "redis"}}, "base,dea,redis", "redis"},
		{local.RoleChange{Op: local.RoleRemove, AllBut: []string{"dea"}}, "base,dea", ""},
		{local.RoleChange{Op: local.RoleAdd, AllBut: []string{"controller", "mdns", "data-services"}}, "base,router,dea,memcached,harbor", "harbor"},
		{local.RoleChange{Op: local.RoleRemove, All: true}, "base", ""},
	}
	generation := n1.nodeNamed("n2").Generation
	for _, s := range steps {
		s.change.Node = "n2"
		out, err := n1.ChangeRoles(n1.ctx(), s.change, nil)
		if err != nil {
			t.Fatalf("%+v: %v", s.change, err)
		}
		if warnings := strings.Join(out.Warnings, "; "); !strings.Contains(warnings, s.warn) || s.warn == "" && warnings != "" {
			t.Errorf("%+v: warnings %q, want %q", s.change, warnings, s.warn)
		}
		if out.Generation != generation+1 || out.Roles != roles(t, s.want) {
			t.Errorf("%+v: %+v, want generation %d and %s", s.change, out, generation+1, s.want)
		}
		generation = out.Generation
		g.wantRoles("n2", s.want)
	}
	// A change to what is there already changes nothing.
	out, err := n1.ChangeRoles(n1.ctx(), local.RoleChange{Node: "n2", Op: local.RoleAdd, Names: []string{"base"}}, nil)
	if err != nil || out.Generation != generation {
		t.Errorf("empty change: %+v, %v", out, err)
	}

	// A node that is down takes the roles over when it is back.
	n3.stop()
	eventually(t, "gossip misses n3", func() error {
		if s := n1.nodeNamed("n3").Gossip; s == "alive" {
			return fmt.Errorf("it is %s", s)
		}
		return nil
	})
	out, err = n1.ChangeRoles(n1.ctx(), local.RoleChange{Node: "n3", Op: local.RoleAdd, Names: []string{"dea", "memcached"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if w := strings.Join(out.Warnings, "; "); !strings.Contains(w, "n3 does not answer now") || !strings.Contains(w, "when it is back") {
		t.Errorf("warnings %q", w)
	}
	g.wantRoles("n3", "base,dea,memcached")
	n3.start()
	g.wantRoles("n3", "base,dea,memcached")

	// Not installed is said by status, and is no failure.
	st, err := n2.Status(n2.ctx(), true)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]local.State{}
	for _, r := range st.Nodes[2].Roles {
		got[string(r.Role)] = r.State
	}
	want := map[string]local.State{"base": local.StateRunning, "dea": local.StateRunning, "memcached": local.StateNotInstalled}
	if diff := cmp.Diff(want, got); diff != "" || !st.Healthy() {
		t.Errorf("status of n3, healthy %v:\n%s", st.Healthy(), diff)
	}
}

func TestControllerRoleComesAndGoes(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "controller", "dea")
	n1, n2, n3 := g.machines[0], g.machines[1], g.machines[2]
	if _, err := n1.ChangeRoles(n1.ctx(), local.RoleChange{Node: "n3", Op: local.RoleAdd, Names: []string{"controller"}}, nil); err != nil {
		t.Fatal(err)
	}
	g.wantRoles("n3", "base,controller,router,dea")
	g.settle()
	if g.other(n1, n2) != n3 {
		t.Fatal("n3 runs no Raft")
	}
	if n3.files()["pki/sealing.keyring"] == "" {
		t.Error("n3 has not got the sealing ring")
	}
	if _, err := n3.TokenCreate(n3.ctx(), local.TokenCreateRequest{}); err != nil {
		t.Errorf("the new controller cannot act as one: %v", err)
	}
	if _, err := n1.ChangeRoles(n1.ctx(), local.RoleChange{Node: "n3", Op: local.RoleSet, Names: []string{"dea"}}, nil); err != nil {
		t.Fatal(err)
	}
	g.wantRoles("n3", "base,dea")
	eventually(t, "n3 gives up Raft", func() error {
		r := n3.node()
		switch {
		case r == nil || r.role != nil:
			return fmt.Errorf("Raft still runs")
		case n3.files()["pki/sealing.keyring"] != "":
			return fmt.Errorf("the sealing ring is still there")
		}
		if _, err := os.Stat(n3.cfg.raftDir()); !os.IsNotExist(err) {
			return fmt.Errorf("the state is still there: %w", err)
		}
		return nil
	})
	g.settle()
	if a := n3.node().dir.get(); a.Controller != nil {
		t.Error("n3 still has a controller's secrets")
	}
	if st, err := n1.Status(n1.ctx(), true); err != nil || len(st.Voters) != 1 || !st.Healthy() {
		t.Errorf("status %+v, %v", st, err)
	}
}

// TestControllerLearnsLater: who asks for a controller's keys may know sooner that
// it is one than the node that it asks. That refusal must not end the agent.
func TestControllerLearnsLater(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "dea")
	n1, n2 := g.machines[0], g.machines[1]
	n2.stop()
	r, err := newRuntime(n2.agent) // what n2 is before it takes the role over
	if err != nil {
		t.Fatal(err)
	}
	defer r.client.Close()
	if _, err := ask(n1.ctx(), r, cluster.MethodRing, &rpc.Empty{}); !errors.Is(err, rpcerr.Denied) {
		t.Fatalf("a node without the role asks for the sealing keys: %v", err)
	}
	ctx, cancel := context.WithTimeout(n1.ctx(), patience)
	defer cancel()
	result := make(chan error, 1)
	go func() {
		_, err := r.sealingRing(ctx)
		result <- err
	}()
	eventually(t, "it is refused again", func() error {
		select {
		case err := <-result:
			t.Fatalf("it gave up: %v", err)
		default:
		}
		if n := n2.refusals(cluster.MethodRing.Name); n < 3 {
			return fmt.Errorf("%d times by now", n)
		}
		return nil
	})
	if _, err := n1.ChangeRoles(n1.ctx(), local.RoleChange{Node: "n2", Op: local.RoleAdd, Names: []string{"controller"}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
}

// refusals counts the calls of a method that the machine's agent has made and
// that were denied.
func (m *machine) refusals(method string) uint64 {
	m.t.Helper()
	families, err := m.agent.http.reg.Gather()
	if err != nil {
		m.t.Fatal(err)
	}
	for _, f := range families {
		for _, c := range f.GetMetric() {
			text := c.String()
			if strings.Contains(text, `"client"`) && strings.Contains(text, `"`+method+`"`) && strings.Contains(text, `"`+string(rpcerr.Denied)+`"`) {
				return c.GetHistogram().GetSampleCount()
			}
		}
	}
	return 0
}

func TestStoppedRolesSurviveRestart(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "dea")
	n1, n2 := g.machines[0], g.machines[1]
	stopped := func(want local.State) {
		t.Helper()
		eventually(t, "dea is "+string(want), func() error {
			for _, m := range []*machine{n1, n2} {
				st, err := m.Status(m.ctx(), true)
				if err != nil {
					return err
				}
				for _, r := range st.Nodes[1].Roles {
					if r.Role == node.DEA && r.State != want {
						return fmt.Errorf("%s says %s %s", m.name, r.State, st.Nodes[1].Error)
					}
				}
			}
			return nil
		})
	}
	stopped(local.StateRunning)
	if _, err := n2.ControlRoles(n2.ctx(), local.RoleControl{Op: local.ControlStop, Names: []string{"dea"}}, nil); err != nil {
		t.Fatal(err)
	}
	stopped(local.StateStopped)
	n2.restart()
	stopped(local.StateStopped)
	if info, err := n2.Info(n2.ctx()); err != nil || info.StoppedRoles != node.NewRoleSet(node.DEA) || !info.AssignedRoles.Has(node.DEA) {
		t.Errorf("info %+v, %v", info, err)
	}
	// From a controller, for the other node.
	if _, err := n1.OnNode("n2").ControlRoles(n1.ctx(), local.RoleControl{Op: local.ControlStart}, nil); err != nil {
		t.Fatal(err)
	}
	stopped(local.StateRunning)
	_, err := n1.ControlRoles(n1.ctx(), local.RoleControl{Op: local.ControlStop, Names: []string{"base"}}, nil)
	wantError(t, err, local.CodeRefused, "base and controller are never stopped")
	_, err = n1.ControlRoles(n1.ctx(), local.RoleControl{Op: local.ControlStop, Names: []string{"dea"}}, nil)
	wantError(t, err, local.CodeNotFound, "n1 does not have the role dea", "kato role add dea")
}

func TestZones(t *testing.T) {
	t.Parallel()
	g := newGroup(t)
	n1, n2 := g.machines[0], newMachine(t, "n2").start()
	if _, err := n2.Join(n2.ctx(), local.JoinRequest{
		Primaries: []string{n1.rpc()}, Token: n1.token(local.TokenCreateRequest{}), Roles: []string{"dea"}, Zone: "eu-1a",
	}, nil); err != nil {
		t.Fatal(err)
	}
	g.machines = append(g.machines, n2)
	g.t.Cleanup(g.cancel)
	g.settle()
	for _, m := range g.machines {
		if n, _ := m.node().dir.get().Find(n2.id()); n.Zone != "eu-1a" {
			t.Errorf("%s places n2, which joined with a zone, in %q", m.name, n.Zone)
		}
		if o, _ := m.node().gossip.Member(n2.id()); o.Meta.Zone != "eu-1a" {
			t.Errorf("%s hears the zone %q of n2, which joined with one", m.name, o.Meta.Zone)
		}
	}
	if _, err := n1.NodeSetZone(n1.ctx(), local.ZoneRequest{Node: "n2", Zone: "eu-1b"}); err != nil {
		t.Fatal(err)
	}
	pz, err := n2.PlacementZones(n2.ctx(), local.PlacementZonesRequest{Add: []string{"ssd", "gpu", "ssd"}})
	if err != nil || cmp.Diff([]string{"gpu", "ssd"}, pz.Zones) != "" {
		t.Errorf("zones %+v, %v", pz, err)
	}
	if pz, err = n1.PlacementZones(n1.ctx(), local.PlacementZonesRequest{Node: "n2", Remove: []string{"gpu", "none"}}); err != nil || cmp.Diff([]string{"ssd"}, pz.Zones) != "" {
		t.Errorf("zones %+v, %v", pz, err)
	}
	eventually(t, "zones everywhere", func() error {
		for _, m := range g.machines {
			for _, n := range m.node().dir.get().Nodes {
				if n.Name == "n2" && (n.Zone != "eu-1b" || cmp.Diff([]string{"ssd"}, n.PlacementZones) != "") {
					return fmt.Errorf("%s: %+v", m.name, n)
				}
			}
			if o, _ := m.node().gossip.Member(n2.id()); o.Meta.Zone != "eu-1b" {
				return fmt.Errorf("%s hears the zone %s", m.name, o.Meta.Zone)
			}
		}
		return nil
	})
	before := n1.state()
	_, err = n1.NodeSetZone(n1.ctx(), local.ZoneRequest{Node: "n2", Zone: "a zone"})
	wantError(t, err, local.CodeInvalid, `zone "a zone"`)
	_, err = n1.NodeSetZone(n1.ctx(), local.ZoneRequest{Node: "n9", Zone: "a"})
	wantError(t, err, local.CodeNotFound, `no node "n9"`, "kato node list")
	_, err = n2.NodeSetZone(n2.ctx(), local.ZoneRequest{Node: "n1", Zone: "a"})
	wantError(t, err, local.CodeForbidden, "only a controller may change another node", "on a controller")
	if diff := cmp.Diff(before, n1.state()); diff != "" {
		t.Errorf("a refusal changed the cluster:\n%s", diff)
	}
}

func TestActOnAnotherNode(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "dea", "controller")
	n1, n2, n3 := g.machines[0], g.machines[1], g.machines[2]
	for _, key := range []string{"n2", string(n2.id()), n2.cfg.Advertise} {
		for _, from := range []*machine{n1, n3} {
			info, err := from.OnNode(key).Info(from.ctx())
			if err != nil || info.Name != "n2" || info.Paths["data"] != n2.cfg.DataDir {
				t.Errorf("%s --node %s: %+v, %v", from.name, key, info, err)
			}
		}
	}
	_, err := n2.OnNode("n1").Info(n2.ctx())
	wantError(t, err, local.CodeForbidden, "only a controller may do this", "controllers: n1, n3", "run it there")
	_, err = n1.OnNode("n9").Info(n1.ctx())
	wantError(t, err, local.CodeNotFound, `no node "n9"`)
	_, err = n1.OnNode("n2").Init(n1.ctx(), local.InitRequest{}, nil)
	wantError(t, err, local.CodeInvalid, "only be set up or attached from itself")
	n2.stop()
	_, err = n1.OnNode("n2").Info(n1.ctx())
	wantError(t, err, local.CodeUnavailable, "n2")
	st, err := n1.Status(n1.ctx(), true)
	if err != nil || st.Nodes[1].Reachable || st.Nodes[1].Error == "" || st.Healthy() {
		t.Errorf("status of a node that is down: %+v, %v", st, err)
	}
	if _, err := n1.Processes(n1.ctx(), true); err != nil {
		t.Errorf("processes of all nodes: %v", err)
	}
}

// TestStatusOfSilentNodes: nodes that take a connection and never say a word
// cost status its deadline once, not once each.
func TestStatusOfSilentNodes(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "dea", "dea")
	n1 := g.machines[0]
	for _, m := range g.machines[1:] {
		m.stop()
		l, err := net.Listen("tcp", m.rpc()) // the system takes connections, nobody answers
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	began := time.Now()
	st, err := n1.Status(n1.ctx(), true)
	took := time.Since(began)
	if err != nil || len(st.Nodes) != 3 || !st.Nodes[0].Reachable || st.Primary != "n1" {
		t.Fatalf("%+v, %v", st, err)
	}
	alone := time.Duration(0)
	for _, n := range st.Nodes[1:] {
		if n.Reachable || n.Error == "" || n.Gossip == "" || n.Took < statusTimeout*9/10 {
			t.Errorf("%s, which is silent: %+v", n.Name, n)
		}
		alone += n.Took
	}
	if took >= alone {
		t.Errorf("status took %s, as long as the two nodes one after the other (%s)", took, alone)
	}
}

func TestNodeAddsRolesToItself(t *testing.T) {
	t.Parallel()
	g := newGroup(t)
	n1 := g.machines[0]
	n2 := newMachine(t, "n2").start()
	if _, err := n2.Join(n2.ctx(), local.JoinRequest{
		Primaries: []string{n1.rpc()}, Roles: []string{"dea"},
		Token: n1.token(local.TokenCreateRequest{Roles: []string{"dea", "harbor"}}),
	}, nil); err != nil {
		t.Fatal(err)
	}
	g.machines = append(g.machines, n2)
	g.settle()
	if _, err := n2.ChangeRoles(n2.ctx(), local.RoleChange{Op: local.RoleAdd, Names: []string{"harbor"}}, nil); err != nil {
		t.Errorf("a role that the token allows: %v", err)
	}
	g.wantRoles("n2", "base,dea,harbor")
	before := n1.state()
	_, err := n2.ChangeRoles(n2.ctx(), local.RoleChange{Op: local.RoleAdd, Names: []string{"controller"}}, nil)
	wantError(t, err, local.CodeForbidden, "join token did not allow the role controller,router", "kato role add", "--node n2")
	_, err = n2.ChangeRoles(n2.ctx(), local.RoleChange{Node: "n1", Op: local.RoleAdd, Names: []string{"harbor"}}, nil)
	wantError(t, err, local.CodeForbidden, "only a controller may change the roles of another node", "on a controller")
	if diff := cmp.Diff(before, n1.state()); diff != "" {
		t.Errorf("a refusal changed the cluster:\n%s", diff)
	}
	if _, err := n2.ChangeRoles(n2.ctx(), local.RoleChange{Op: local.RoleRemove, Names: []string{"harbor"}}, nil); err != nil {
		t.Errorf("giving up a role: %v", err)
	}
}
