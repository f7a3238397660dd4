package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/supervise/consul"
)

// Status implements local.InfoBackend.
func (b *backend) Status(ctx context.Context, all bool) (local.Status, error) {
	r, err := b.member()
	if err != nil {
		return local.Status{}, err
	}
	out := local.Status{ClusterID: r.id.ClusterID, Voters: []string{}, Notes: []string{}, Nodes: []local.NodeStatus{}}
	a := r.dir.get()
	t, err := r.anyTopology(ctx)
	if err != nil {
		out.Notes = append(out.Notes, fmt.Sprintf("no controller answers (%v): this is what the node knew last", err))
		t = &cluster.Topology{Nodes: a.Nodes, Voters: a.Voters}
	}
	out.Primary = nameOf(cluster.Assignment{Nodes: t.Nodes}, t.Primary)
	for _, id := range t.Voters {
		out.Voters = append(out.Voters, nameOf(cluster.Assignment{Nodes: t.Nodes}, id))
	}
	slices.Sort(out.Voters)
	if all {
		for _, s := range r.askAll(ctx) {
			out.Nodes = append(out.Nodes, r.nodeStatus(t, s))
		}
	} else {
		out.Nodes = append(out.Nodes, r.nodeStatus(t, r.askOne(ctx, a.Self, 0)))
	}
	slices.SortFunc(out.Nodes, func(x, y local.NodeStatus) int { return cmp.Compare(x.Name, y.Name) })
	r.judge(t, &out)
	return out, nil
}

// anyTopology asks this node's own tables first, then other controllers, with
// the deadline of status: it must answer also without a Primary.
func (r *runtime) anyTopology(ctx context.Context) (*cluster.Topology, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	if c := r.controller(); c != nil && r.role.inGroup() {
		if t, err := c.Topology(ctx, false); err == nil {
			return &t, nil
		}
	}
	return askOthers(ctx, r, cluster.MethodTopology, &cluster.TopologyRequest{})
}

func (r *runtime) nodeStatus(t *cluster.Topology, s answer) local.NodeStatus {
	out := local.NodeStatus{
		Name: s.node.Name, ID: s.node.ID, Address: s.node.Address, Zone: s.node.Zone, Gossip: r.gossipState(s.node.ID),
		Voter: topologyState(t, s.node.ID), Roles: []local.RoleStatus{}, Took: s.took,
	}
	if s.err != nil {
		out.Error, out.Version, out.Generation = s.err.Error(), s.node.Version, 0
		for _, role := range s.node.Roles.List() {
			out.Roles = append(out.Roles, local.RoleStatus{Role: role, State: local.StateUnknown})
		}
		return out
	}
	out.Reachable, out.Version, out.Generation, out.Roles = true, s.Version, s.Generation, s.Roles
	return out
}

// judge says whether the cluster can lose a voter, and why not.
func (r *runtime) judge(t *cluster.Topology, out *local.Status) {
	alive := 0
	for _, id := range t.Voters {
		if ok, _ := r.Alive(id); ok {
			alive++
		}
	}
	controllers := 0
	for _, n := range t.Nodes {
		if n.Roles.Has(node.Controller) {
			controllers++
		}
	}
	out.Redundant = len(t.Voters) >= 3 && alive-1 > len(t.Voters)/2
	switch {
	case t.Primary == "":
		out.Notes = append(out.Notes, "no Primary: more than half of the voters must be up; changes are refused until then")
	case len(t.Nodes) == 1 && r.dir.get().Micro:
		out.Notes = append(out.Notes, "not redundant, as a micro cloud is: one machine")
	case len(t.Nodes) < 3 && controllers < 3:
		out.Notes = append(out.Notes, fmt.Sprintf("not redundant: %d of 3 controllers; add machines with: stackato-agent token create --roles controller, "+
			"and there: stackato-agent join", controllers))
	case len(t.Voters) < 3 && controllers < 3:
		out.Notes = append(out.Notes, fmt.Sprintf("not redundant: %d of 3 controllers; add some with: kato role add controller --node NAME", controllers))
	case len(t.Voters) < 3:
		out.Notes = append(out.Notes, "not redundant yet: controllers are being given a vote")
	case !out.Redundant:
		out.Notes = append(out.Notes, fmt.Sprintf("not redundant: %d of %d voters are up", alive, len(t.Voters)))
	}
}

// programVersions fills in what runs, or would, beside the agent.
func (a *Agent) programVersions(ctx context.Context, v *local.Version) {
	for _, p := range a.programs(ctx) {
		text := p.Version
		if p.Err != nil && text != "" {
			text += " (not suitable)"
		}
		if p.Need.Name == consul.Required.Name {
			v.Consul = text
		} else {
			v.Nomad = text
		}
	}
	if info, err := a.dockerInfo(ctx); err == nil {
		v.Docker = info.Version
	}
}
