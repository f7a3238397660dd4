package cluster

import (
	"context"
	"slices"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

// RemoveRequest takes a node out of the cluster.
type RemoveRequest struct {
	Node  string `json:"node"` // name, id or address
	Force bool   `json:"force"`
	// Begin only marks the node as leaving: it hands over its duties first.
	Begin bool `json:"begin"`
}

// RemoveNode takes a node out: in one go for one that is gone, or in two
// steps (Begin, then without) for one that leaves by itself. A controller may
// remove any node, another one only itself.
func (c *Controller) RemoveNode(ctx context.Context, by Caller, r RemoveRequest) (node.Node, error) {
	v, err := c.read(ctx)
	if err != nil {
		return node.Node{}, err
	}
	m, ok := FindMember(v, r.Node)
	if !ok {
		return node.Node{}, rpcerr.New(rpcerr.NotFound, "no node %q", r.Node).WithHint("see: kato node list")
	}
	if !by.Controller && by.ID != m.ID {
		return node.Node{}, rpcerr.New(rpcerr.Denied, "only a controller may remove another node").WithHint("run the command on a controller")
	}
	if err := c.checkQuorum(m.Node, r.Force); err != nil {
		return node.Node{}, err
	}
	if r.Begin {
		yes := true
		out, err := cmdNodeUpdate.Propose(ctx, c.cons, nodeUpdate{ID: m.ID, Leaving: &yes, LeavingAllowed: r.Force})
		return out.Node, err
	}
	if alive, _ := c.cfg.Hints.Alive(m.ID); alive && by.ID != m.ID && !r.Force && !m.Leaving {
		return node.Node{}, rpcerr.New(rpcerr.Precondition, "node %s is up", m.Name).
			WithHint("run \"stackato-agent leave\" there, or give --force")
	}
	out, err := cmdNodeRemove.Propose(ctx, c.cons, removeInput{ID: m.ID, Force: r.Force})
	return out.Node, err
}

// checkQuorum refuses to take a voter away when no majority of live voters
// could carry out the change, or no live controller would be left to lead.
func (c *Controller) checkQuorum(n node.Node, force bool) error {
	if force || !n.Roles.Has(node.Controller) {
		return nil
	}
	servers, _ := c.cons.Servers()
	left := 0
	voter := false
	for _, s := range servers {
		voter = voter || s.ID == n.ID && s.Voter
		if s.ID == n.ID {
			continue
		}
		if alive, _ := c.cfg.Hints.Alive(s.ID); alive || s.ID == c.cfg.Self {
			left++
		}
	}
	if voter && left == 0 && len(servers) > 1 {
		return rpcerr.New(rpcerr.Precondition, "no other controller is up: without %s nobody could lead", n.Name).
			WithHint("start another controller first, or give --force if they are gone for good")
	}
	return nil
}

// Settled reports whether a leaving node has handed over everything: it has
// no part in Raft, and Consul and Nomad do not run servers on it.
func (t Topology) Settled(id node.ID) bool {
	return !slices.Contains(t.Voters, id) && !slices.Contains(t.Nonvoters, id) &&
		!slices.Contains(t.Record.Voters, id) && t.Primary != id && t.Primary != ""
}
