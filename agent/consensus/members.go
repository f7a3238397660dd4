package consensus

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hashicorp/raft"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

// membershipTimeout bounds one change of the Raft configuration.
const membershipTimeout = 5 * time.Second

// Servers returns the group's members as this node knows them, and the index
// of the log entry that set them; a change can be fenced by it. The members
// may be newer than the index, for as long as a change is on its way: changes
// fenced by it then fail.
func (n *Node) Servers() ([]Server, uint64) {
	index := n.fsm.members.Load() // first: it must not be newer than the members
	f := n.raft.GetConfiguration()
	if f.Error() != nil {
		return nil, 0
	}
	var out []Server
	for _, s := range f.Configuration().Servers {
		out = append(out, Server{node.ID(s.ID), string(s.Address), s.Suffrage == raft.Voter})
	}
	return out, index
}

// Report tells the group which commands a member's build knows. A member has
// to be reported before it is added.
func (n *Node) Report(ctx context.Context, id node.ID, caps Capabilities) error {
	if known, ok := reported(n.fsm.state.Read(), id); ok && known.equal(caps) {
		return nil
	}
	_, err := cmdReport.Propose(ctx, n, memberReport{ID: id, Capabilities: caps})
	return err
}

// ReportSelf reports this node's own build.
func (n *Node) ReportSelf(ctx context.Context) error {
	return n.Report(ctx, n.cfg.ID, n.reg.Capabilities())
}

// AddNonvoter adds a member that follows the log without a vote. Only the
// leader can; prev is the index from [Node.Servers] that the decision was
// made on (another change in between makes it fail).
func (n *Node) AddNonvoter(id node.ID, addr string, prev uint64) error {
	if _, ok := reported(n.fsm.state.Read(), id); !ok {
		return rpcerr.New(rpcerr.Precondition, "node %s has not reported its commands", id)
	}
	return membership(prev, func() raft.IndexFuture {
		return n.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(addr), prev, membershipTimeout)
	})
}

// AddVoter gives a member a vote. See [Node.AddNonvoter].
func (n *Node) AddVoter(id node.ID, addr string, prev uint64) error {
	if _, ok := reported(n.fsm.state.Read(), id); !ok {
		return rpcerr.New(rpcerr.Precondition, "node %s has not reported its commands", id)
	}
	return membership(prev, func() raft.IndexFuture {
		return n.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(addr), prev, membershipTimeout)
	})
}

// Demote takes a member's vote. See [Node.AddNonvoter].
func (n *Node) Demote(id node.ID, prev uint64) error {
	return membership(prev, func() raft.IndexFuture { return n.raft.DemoteVoter(raft.ServerID(id), prev, membershipTimeout) })
}

// Remove takes a member out of the group and forgets its report.
func (n *Node) Remove(ctx context.Context, id node.ID, prev uint64) error {
	if err := membership(prev, func() raft.IndexFuture { return n.raft.RemoveServer(raft.ServerID(id), prev, membershipTimeout) }); err != nil {
		return err
	}
	if _, ok := reported(n.fsm.state.Read(), id); !ok {
		return nil
	}
	_, err := cmdReport.Propose(ctx, n, memberReport{ID: id, Gone: true})
	return err
}

// membership makes one change and waits for it. Raft takes index 0 for "do
// not compare".
func membership(prev uint64, change func() raft.IndexFuture) error {
	if prev == 0 {
		return rpcerr.New(rpcerr.Conflict, "the group's members are not known here yet")
	}
	return raftError(change().Error())
}

func cmdProposal[T, R any](c *Command[T, R], in T) (Proposal, error) {
	data, err := json.Marshal(in)
	return Proposal{Type: c.Type, Version: c.Version, Data: data}, err
}
