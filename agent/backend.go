package agent

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/internal/buildinfo"
	"github.com/stackato/stackato/wire/rpcerr"
)

// backend implements local.Backend on the agent. See backend_*.go.
type backend struct{ a *Agent }

var _ local.Backend = (*backend)(nil)

// member returns the running node, or the error for an unconfigured machine.
func (b *backend) member() (*runtime, error) {
	if r := b.a.current(); r != nil {
		return r, nil
	}
	if _, ok, _ := b.a.store.identity(); ok {
		return nil, local.Errorf(local.CodeUnavailable, "try again in a moment", "the node is starting")
	}
	return nil, local.Errorf(local.CodeUnconfigured,
		"make it the first node (stackato-agent init) or let it join one (stackato-agent join ADDRESS --token-file F)",
		"this machine is in no cluster yet")
}

// controllerOnly returns the controller's operations of this node; what
// concerns the cluster as a whole is refused on other nodes.
func (b *backend) controllerOnly() (*runtime, *cluster.Controller, error) {
	r, err := b.member()
	if err != nil {
		return nil, nil, err
	}
	c := r.controller()
	if c == nil {
		var names []string
		for _, n := range r.dir.get().Controllers() {
			names = append(names, n.Name)
		}
		return nil, nil, local.Errorf(local.CodeForbidden, "run it there", "only a controller may do this (controllers: %s)", strings.Join(names, ", "))
	}
	return r, c, nil
}

// Info implements local.InfoBackend.
func (b *backend) Info(context.Context) (local.Info, error) {
	cfg := b.a.cfg
	info := local.Info{
		Type: local.TypeUnconfigured, Version: buildinfo.Version, StartedAt: b.a.started, PlacementZones: []string{},
		AvailableRoles: node.AllRoles().Without(node.AllRoles().NotInstalled()), Voter: local.VoterNone,
		Paths: map[string]string{
			"data": cfg.DataDir, "socket": cfg.SocketPath(), "logs": cfg.path("logs"), "role_groups": cfg.RoleGroups,
			"certificate": cfg.certFile(), "ca": cfg.caFile(),
		},
	}
	id, ok, err := b.a.store.identity()
	if err != nil || !ok {
		return info, err
	}
	info.ID, info.Name, info.ClusterID, info.Configured, info.Type = id.ID, id.Name, id.ClusterID, true, local.TypeNode
	r := b.a.current()
	if r == nil {
		return info, nil
	}
	a := r.dir.get()
	s := a.Self
	info.Address, info.Zone, info.PlacementZones = s.Address, s.Zone, s.PlacementZones
	info.AssignedRoles, info.StoppedRoles, info.Generation = s.Roles, s.StoppedRoles, s.Generation
	if a.Micro {
		info.Type = local.TypeMicro
	}
	info.Primary, info.Voter = nameOf(a, r.primary()), voterState(a, r.primary(), s)
	return info, nil
}

func nameOf(a cluster.Assignment, id node.ID) string {
	n, _ := a.Find(id)
	return n.Name
}

// voterState is a node's part in Raft, as far as this node knows.
func voterState(a cluster.Assignment, primary node.ID, n node.Node) string {
	switch {
	case n.ID == primary:
		return local.VoterPrimary
	case slices.Contains(a.Voters, n.ID):
		return local.VoterVoter
	case n.Roles.Has(node.Controller):
		return local.VoterNonvoter
	}
	return local.VoterNone
}

// Version implements local.InfoBackend.
func (b *backend) Version(ctx context.Context) (local.Version, error) {
	v := local.Version{Agent: buildinfo.Version}
	if info, ok := debug.ReadBuildInfo(); ok {
		v.Go = info.GoVersion
	}
	b.a.programVersions(ctx, &v)
	return v, nil
}

// Health implements local.InfoBackend.
func (b *backend) Health(ctx context.Context) error {
	r, err := b.member()
	if err != nil {
		return err
	}
	if err := r.isRemoved(); err != nil {
		return local.Errorf(local.CodeUnavailable, "if it was removed on purpose: stackato-agent reset", "the cluster does not know this node: %v", err)
	}
	for _, s := range r.roleStatus(ctx) {
		if s.State.Bad() {
			return local.Errorf(local.CodeUnavailable, "see: kato status", "role %s is %s: %s", s.Role, s.State, s.Detail)
		}
	}
	return nil
}

// Nodes implements local.NodeBackend.
func (b *backend) Nodes(ctx context.Context) ([]local.NodeView, error) {
	r, err := b.member()
	if err != nil {
		return nil, err
	}
	t, err := ask(ctx, r, cluster.MethodTopology, &cluster.TopologyRequest{Fresh: true})
	if err != nil {
		return nil, err
	}
	out := []local.NodeView{}
	for _, n := range t.Nodes {
		out = append(out, local.NodeView{
			Node: n, Voter: topologyState(t, n.ID), Primary: n.ID == t.Primary, Gossip: r.gossipState(n.ID), Self: n.ID == r.id.ID,
		})
	}
	return out, nil
}

// topologyState is a node's part in Raft as a controller sees it.
func topologyState(t *cluster.Topology, id node.ID) string {
	switch {
	case t.Primary == id:
		return local.VoterPrimary
	case slices.Contains(t.Voters, id):
		return local.VoterVoter
	case slices.Contains(t.Nonvoters, id):
		return local.VoterNonvoter
	}
	return local.VoterNone
}

// gossipState is memberlist's view of a node, "" if it has none.
func (r *runtime) gossipState(id node.ID) string {
	m, ok := r.gossip.Member(id)
	if !ok {
		return ""
	}
	return strings.ToLower(fmt.Sprint(m.State))
}

// find looks a node up by name, id or address; "" is this node.
func (r *runtime) find(ctx context.Context, key string) (node.Node, error) {
	if key == "" {
		key = string(r.id.ID)
	}
	t, err := ask(ctx, r, cluster.MethodTopology, &cluster.TopologyRequest{Fresh: true})
	if err != nil {
		return node.Node{}, err
	}
	for _, n := range t.Nodes {
		if string(n.ID) == key || n.Name == key || n.Address == key {
			return n, nil
		}
	}
	return node.Node{}, rpcerr.New(rpcerr.NotFound, "no node %q", key).WithHint("see: kato node list")
}

// NodeRemove implements local.NodeBackend.
func (b *backend) NodeRemove(ctx context.Context, req local.NodeRemoveRequest, p local.Progress) error {
	r, _, err := b.controllerOnly()
	if err != nil {
		return err
	}
	n, err := r.find(ctx, req.Node)
	if err != nil {
		return err
	}
	if n.ID == r.id.ID {
		return local.Errorf(local.CodeRefused, "use: kato node detach (or stackato-agent leave)", "this is the node itself")
	}
	step := stepper(p)
	step("take " + n.Name + " out of the nodes table")
	if _, err := ask(ctx, r, cluster.MethodRemoveNode, &cluster.RemoveRequest{Node: string(n.ID), Force: req.Force}); err != nil {
		return err
	}
	step("take it out of Raft, Consul and Nomad")
	if err := r.waitGone(ctx, n.ID); err != nil {
		return err
	}
	step("")
	return nil
}

// NodeSetZone implements local.NodeBackend.
func (b *backend) NodeSetZone(ctx context.Context, req local.ZoneRequest) (local.NodeView, error) {
	n, err := b.updateNode(ctx, req.Node, cluster.NodeUpdate{Zone: &req.Zone})
	return local.NodeView{Node: n}, err
}

// PlacementZones implements local.NodeBackend.
func (b *backend) PlacementZones(ctx context.Context, req local.PlacementZonesRequest) (local.PlacementZones, error) {
	var n node.Node
	var err error
	if len(req.Add)+len(req.Remove) == 0 {
		r, merr := b.member()
		if merr != nil {
			return local.PlacementZones{}, merr
		}
		n, err = r.find(ctx, req.Node)
	} else {
		n, err = b.updateNode(ctx, req.Node, cluster.NodeUpdate{AddPlacement: req.Add, DelPlacement: req.Remove})
	}
	return local.PlacementZones{Node: n.Name, Zones: n.PlacementZones}, err
}

func (b *backend) updateNode(ctx context.Context, key string, u cluster.NodeUpdate) (node.Node, error) {
	r, err := b.member()
	if err != nil {
		return node.Node{}, err
	}
	n, err := r.find(ctx, key)
	if err != nil {
		return n, err
	}
	u.Node = n.ID
	out, err := ask(ctx, r, cluster.MethodUpdateNode, &u)
	if err != nil {
		return n, err
	}
	return *out, nil
}
