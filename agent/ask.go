package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"

	"github.com/stackato/stackato/agent/member"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/wire/rpcerr"
)

// ask calls a method that any controller answers: this node itself if it is
// one that works, then the others, voters first. The next is asked when one
// cannot be reached or cannot do it now, for reads also when one is lost in the
// middle. Once this node itself has waited for
// a Primary in vain, others are asked only if gossip sees them: the caller
// waits, and nodes behind a cut cost seconds each.
func ask[Req, Resp any](ctx context.Context, r *runtime, m rpc.Method[Req, Resp], req *Req) (*Resp, error) {
	self := false
	return askEach(ctx, m.Reads, r.askOrder(), func(n node.Node) (*Resp, error) {
		if self && !r.seen(n.ID) {
			return nil, errLeftOut
		}
		self = self || n.ID == r.id.ID
		return rpc.Call(ctx, r.client, rpc.Target{ID: n.ID, Addr: n.RPCAddr()}, m, req)
	})
}

// errLeftOut says that a node was not asked.
var errLeftOut = errors.New("left out")

// askEach calls one node after the other until one has answered for good.
func askEach[Resp any](ctx context.Context, reads bool, nodes []node.Node, call func(node.Node) (*Resp, error)) (*Resp, error) {
	var last error
	for _, n := range nodes {
		resp, err := call(n)
		switch {
		case err == nil:
			return resp, nil
		case errors.Is(err, errLeftOut):
			continue
		}
		if last == nil || !rpcerr.Retryable(err) {
			last = err
		}
		if ctx.Err() != nil || !rpcerr.Retryable(err) && !(reads && errors.Is(err, rpc.ErrLost)) {
			break
		}
	}
	if last == nil {
		last = rpcerr.New(rpcerr.Unavailable, "no other controller is known")
	}
	return nil, last
}

// seen reports whether gossip takes a node for alive, without a doubt.
func (r *runtime) seen(id node.ID) bool {
	if r.gossip == nil { // not up yet
		return true
	}
	m, ok := r.gossip.Member(id)
	return ok && m.State == member.Alive
}

// askOrder lists whom to ask: this node, the Primary, other voters in random
// order, other controllers.
func (r *runtime) askOrder() []node.Node {
	a := r.dir.get()
	primary := r.primary()
	var self, lead, voters, rest []node.Node
	for _, n := range a.Controllers() {
		switch {
		case n.ID == r.id.ID:
			if r.role != nil && r.role.inGroup() {
				self = append(self, n)
			}
		case n.ID == primary:
			lead = append(lead, n)
		case slices.Contains(a.Voters, n.ID):
			voters = append(voters, n)
		default:
			rest = append(rest, n)
		}
	}
	rand.Shuffle(len(voters), func(i, j int) { voters[i], voters[j] = voters[j], voters[i] })
	return append(append(append(self, lead...), voters...), rest...)
}
