package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/member"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/wire/rpcerr"
)

// intruder is a client with the certificate of one node that trusts whatever
// the attacked cluster shows.
type intruder struct {
	cert  *tls.Certificate
	roots []*x509.Certificate
	id    string
}

func (i intruder) Certificate() *tls.Certificate { return i.cert }
func (i intruder) Roots() []*x509.Certificate    { return i.roots }
func (i intruder) ClusterID() string             { return i.id }
func (i intruder) Now() time.Time                { return time.Now() }

// intrude returns a client with the certificate of owner against the cluster
// of target.
func intrude(t testing.TB, owner, target *machine) *rpc.Client {
	t.Helper()
	c := rpc.NewClient(intruder{owner.node().creds.Certificate(), target.node().creds.Roots(), target.node().creds.ClusterID()}, rpc.ClientConfig{})
	t.Cleanup(c.Close)
	return c
}

// attempt is one way to ask for something that a node may not have.
type attempt struct {
	name string
	do   func(ctx context.Context, c *rpc.Client, at rpc.Target) error
}

func call[Req, Resp any](m rpc.Method[Req, Resp], req Req) attempt {
	return attempt{m.Name, func(ctx context.Context, c *rpc.Client, at rpc.Target) error {
		_, err := rpc.Call(ctx, c, at, m, &req)
		return err
	}}
}

var dialRaft = attempt{"raft", func(ctx context.Context, c *rpc.Client, at rpc.Target) error {
	conn, err := c.DialRaft(ctx, at)
	if err == nil {
		conn.Close()
	}
	return err
}}

// controllersOnly is what only controllers may ask for.
func controllersOnly() []attempt {
	key := cluster.PutSettingRequest{Key: "app/stolen", Value: []byte("1")}
	return []attempt{
		dialRaft,
		call(cluster.MethodPutSetting, key),
		call(cluster.MethodRing, rpc.Empty{}),
		call(cluster.MethodMergeRing, cluster.Ring{Data: []byte("{}")}),
		call(cluster.MethodApply, cluster.ApplyRequest{Proposal: consensus.Proposal{Type: "cluster.setting_put", Version: 1, Data: []byte(`{"key":"app/stolen","value":1}`)}}),
		call(cluster.MethodReadIndex, rpc.Empty{}),
		call(methodForward, local.ForwardRequest{Method: "GET", Path: "/v1/info"}),
	}
}

// membersOnly is what any member may ask for, of itself at least.
func membersOnly(self node.ID) []attempt {
	zone := "stolen"
	return []attempt{
		call(cluster.MethodAssignment, cluster.AssignmentRequest{}),
		call(cluster.MethodTopology, cluster.TopologyRequest{}),
		call(cluster.MethodSettings, cluster.SettingsRequest{}),
		call(cluster.MethodRenew, cluster.RenewRequest{}),
		call(cluster.MethodSetRoles, cluster.RoleRequest{Node: self, Roles: node.NewRoleSet(node.Base)}),
		call(cluster.MethodUpdateNode, cluster.NodeUpdate{Node: self, Zone: &zone}),
		call(cluster.MethodRemoveNode, cluster.RemoveRequest{Node: string(self), Force: true}),
		call(methodStatus, statusRequest{}),
	}
}

func (m *machine) target() rpc.Target { return rpc.Target{ID: m.id(), Addr: m.rpc()} }

func TestForeignCertificateRefused(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "controller", "controller")
	n1 := g.machines[0]
	stranger := newMachine(t, "n2").start() // the name of a member
	stranger.initialise()
	client := intrude(t, stranger, n1)
	before := n1.state()
	for _, m := range g.machines {
		for _, a := range append(controllersOnly(), membersOnly(stranger.id())...) {
			err := a.do(n1.ctx(), client, m.target())
			for errors.Is(err, rpcerr.Exhausted) { // without a good certificate calls are limited
				time.Sleep(500 * time.Millisecond)
				err = a.do(n1.ctx(), client, m.target())
			}
			if !errors.Is(err, rpcerr.Unauthenticated) {
				t.Errorf("%s on %s: %v", a.name, m.name, err)
			}
		}
	}
	if diff := cmp.Diff(before, n1.state()); diff != "" {
		t.Errorf("the cluster changed:\n%s", diff)
	}
	if !strings.Contains(n1.logs.String(), "certificate refused") {
		t.Error("the log does not tell of the stranger")
	}
}

func TestNodeWithoutTheRoleRefused(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "dea", "controller", "controller")
	n1, dea := g.machines[0], g.machines[1]
	client := intrude(t, dea, n1)
	before := n1.state()
	for _, m := range g.machines {
		for _, a := range controllersOnly() {
			err := a.do(n1.ctx(), client, m.target())
			if !errors.Is(err, rpcerr.Denied) || !strings.Contains(err.Error(), "node n2 is member") && m != dea {
				t.Errorf("%s on %s: %v", a.name, m.name, err)
			}
		}
	}
	zone := "stolen"
	for _, a := range []attempt{
		call(cluster.MethodSetRoles, cluster.RoleRequest{Node: n1.id(), Roles: node.NewRoleSet(node.Base)}),
		call(cluster.MethodSetRoles, cluster.RoleRequest{Node: dea.id(), Roles: roles(t, "base,controller,router"), Generation: 1}),
		call(cluster.MethodUpdateNode, cluster.NodeUpdate{Node: n1.id(), Zone: &zone}),
		call(cluster.MethodRemoveNode, cluster.RemoveRequest{Node: "n1", Force: true}),
	} {
		if err := a.do(n1.ctx(), client, n1.target()); !errors.Is(err, rpcerr.Denied) {
			t.Errorf("%s: %v", a.name, err)
		}
	}
	if diff := cmp.Diff(before, n1.state()); diff != "" {
		t.Errorf("the cluster changed:\n%s", diff)
	}
}

func TestRemovedNodeRefused(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "controller", "controller", "dea")
	n1, n3 := g.machines[0], g.machines[2]
	client := intrude(t, n3, n1)
	self := n3.id()
	conns := map[*machine]net.Conn{}
	for _, m := range []*machine{n1, g.machines[1]} {
		conn, err := client.DialRaft(n1.ctx(), m.target())
		if err != nil {
			t.Fatal(err)
		}
		conns[m] = conn
		if err := dialRaft.do(n1.ctx(), client, m.target()); err != nil {
			t.Fatal(err)
		}
		if err := call(cluster.MethodTopology, cluster.TopologyRequest{}).do(n1.ctx(), client, m.target()); err != nil {
			t.Fatal(err)
		}
	}
	err := n1.NodeRemove(n1.ctx(), local.NodeRemoveRequest{Node: "n3"}, nil)
	wantError(t, err, local.CodeRefused, "node n3 is up", "stackato-agent leave", "--force")
	n3.stop()
	if err := n1.NodeRemove(n1.ctx(), local.NodeRemoveRequest{Node: "n3", Force: true}, nil); err != nil {
		t.Fatal(err)
	}
	g.machines = append(g.machines[:2:2], g.machines[3])
	for m, conn := range conns {
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("the open connection to %s did not end: %v", m.name, err)
		}
		conn.Close()
	}
	eventually(t, "two controllers have one vote", func() error {
		one, two := n1.nodeNamed("n1").Voter, n1.nodeNamed("n2").Voter
		if (one == local.VoterNonvoter) == (two == local.VoterNonvoter) {
			return fmt.Errorf("n1 is %s, n2 is %s", one, two)
		}
		return nil
	})
	before := n1.state()
	for _, m := range g.machines {
		for _, a := range append(controllersOnly(), membersOnly(self)...) {
			err := a.do(n1.ctx(), client, m.target())
			if !errors.Is(err, rpcerr.Denied) || !strings.Contains(err.Error(), "does not belong to the cluster") {
				t.Errorf("%s on %s: %v", a.name, m.name, err)
			}
		}
	}
	if diff := cmp.Diff(before, n1.state()); diff != "" {
		t.Errorf("the cluster changed:\n%s", diff)
	}
	for _, n := range before.Nodes {
		if n.Name == "n3" {
			t.Error("n3 is still there")
		}
	}
}

func TestRemovedNodeNotices(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "dea", "controller", "controller")
	n1, n2, n4 := g.machines[0], g.machines[1], g.machines[3]
	for _, m := range []*machine{n2, n4} {
		if err := n1.NodeRemove(n1.ctx(), local.NodeRemoveRequest{Node: m.name, Force: true}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []*machine{n2, n4} {
		within(t, 2*patience, m.name+" notices that it was removed", func() error {
			if m.node() == nil || m.node().isRemoved() == nil {
				return errors.New("it has not noticed")
			}
			return nil
		})
		wantError(t, m.Health(m.ctx()), local.CodeUnavailable, "the cluster does not know this node", "stackato-agent reset")
		st, err := m.Status(m.ctx(), false)
		if err != nil || st.Healthy() {
			t.Errorf("%s: status %+v, %v", m.name, st, err)
		}
		if !strings.Contains(m.logs.String(), "the cluster does not know this node any more") {
			t.Errorf("%s: the log does not say it", m.name)
		}
		// As the message says: reset, then join again.
		m.stop()
		if err := Locked(m.cfg, func() error { return Reset(m.cfg) }); err != nil {
			t.Fatal(err)
		}
		m.start()
	}
	n2.join(n1, "dea")
	n4.join(n1, "controller")
	g.settle()
}

func TestGossipWithoutKeyRefused(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "dea")
	n1 := g.machines[0]
	a := n1.node().dir.get()
	tests := []struct {
		name, clusterID string
		key             []byte
	}{
		{"another key", a.ClusterID, member.NewKey()},
		{"another cluster with the key", "6d1c2c3e-6a39-4e0c-9a0e-0d7b3a1f2c11", a.GossipKeys[0]},
	}
	for i, tt := range tests {
		id := node.NewID()
		out, err := member.New(member.Config{
			ID: id, Name: "spy", ClusterID: tt.clusterID, BindAddr: fmt.Sprintf("127.0.2.%d", i+1), Keys: [][]byte{tt.key}, Logger: n1.log,
			Meta: func() member.Meta {
				return member.Meta{Roles: node.AllRoles(), Version: "0.1.0", Zone: "z", Address: netip.MustParseAddr("127.0.2.1")}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- out.Run(ctx) }()
		if n, err := out.Join(n1.ctx(), []string{a.Self.GossipAddr()}); n != 0 || err == nil {
			t.Errorf("%s: joined %d members, %v", tt.name, n, err)
		}
		for _, m := range g.machines {
			if s := m.node().gossipState(id); s != "" {
				t.Errorf("%s: %s sees the spy as %s", tt.name, m.name, s)
			}
		}
		if got := len(out.Members()); got != 1 {
			t.Errorf("%s: the spy sees %d members", tt.name, got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := len(n1.state().Nodes); got != 2 {
		t.Errorf("%d nodes", got)
	}
}
