package cluster

import (
	"context"
	"slices"

	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

// RemoveRequest takes a node out of the cluster.
type RemoveRequest struct {
	Node  string `json:"node"` // name, id or address
	Force bool   `json:"force"`
	// Begin only marks the node as leaving: it hands over its duties first.
	Begin bool `json:"begin"`
	// Cancel takes a Begin back.
	Cancel bool `json:"cancel"`
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
	if r.Cancel {
		no := false
		out, err := cmdNodeUpdate.Propose(ctx, c.cons, nodeUpdate{ID: m.ID, Leaving: &no})
		return out.Node, err
	}
	if !r.Force {
		if err := c.checkQuorum(v, m, r.Begin); err != nil {
			return node.Node{}, err
		}
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
	if err == nil && c.cfg.Removed != nil {
		c.cfg.Removed(ctx, m.Node)
	}
	return out.Node, err
}

// checkQuorum refuses what the cluster would not survive. A controller may
// begin to leave when another is up that can take over; it may be taken out at
// once, with its vote, when the others are a majority of the voters.
func (c *Controller) checkQuorum(v *consensus.View, m Member, begin bool) error {
	if begin && m.Roles.Has(node.Controller) {
		for _, o := range Members(v) {
			if o.ID != m.ID && o.Roles.Has(node.Controller) && !o.Leaving && c.alive(o.ID) {
				return nil
			}
		}
		if err := checkNotLastController(v, m); err != nil {
			return err // it says more
		}
		return rpcerr.New(rpcerr.Precondition, "no other controller is up: without %s nobody could lead", m.Name).
			WithHint("start another controller first, or give --force if they are gone for good")
	}
	servers, _ := c.cons.Servers()
	voters := slices.DeleteFunc(servers, func(s consensus.Server) bool { return !s.Voter })
	live, votes := 0, false
	for _, s := range voters {
		votes = votes || s.ID == m.ID
		if s.ID != m.ID && c.alive(s.ID) {
			live++
		}
	}
	if votes && !begin && live <= len(voters)/2 {
		if err := checkNotLastController(v, m); err != nil {
			return err
		}
		return rpcerr.New(rpcerr.Precondition, "only %d of the %d voters would be up without %s: the cluster could not go on", live, len(voters), m.Name).
			WithHint("run \"stackato-agent leave\" on it, which hands over its vote first, or start another controller")
	}
	return nil
}

// alive reports whether a node is up as far as gossip knows.
func (c *Controller) alive(id node.ID) bool {
	alive, _ := c.cfg.Hints.Alive(id)
	return alive || id == c.cfg.Self
}

// Settled reports whether a leaving node has handed over everything: it has
// no part in Raft, and Consul and Nomad do not run servers on it.
func (t Topology) Settled(id node.ID) bool {
	return !slices.Contains(t.Voters, id) && !slices.Contains(t.Nonvoters, id) &&
		!slices.Contains(t.Record.Voters, id) && t.Primary != id && t.Primary != ""
}
