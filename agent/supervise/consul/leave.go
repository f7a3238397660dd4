package consul

import (
	"context"

	"github.com/stackato/stackato/agent/supervise"
)

// Leave takes the server with that node id out of the servers and ends its
// process. It leaves the Raft configuration first, so that its process cannot
// be gone before the others have agreed to do without it.
//
// When the other servers cannot agree to the removal the error is returned
// and the process runs on; Child.Stop ends it regardless of them. cl must call
// this agent with a token that has operator:write and agent:write. A client
// agent leaves with child.Leave(ctx, cl.Leave).
func Leave(ctx context.Context, child *supervise.Child, cl *Client, id string) error {
	peers, err := cl.RaftPeers(ctx)
	if err != nil {
		return err
	}
	if othersVote(peers, id) {
		if err := cl.RemovePeer(ctx, id); err != nil {
			return err
		}
	}
	return child.Leave(ctx, cl.Leave)
}

func othersVote(peers []Peer, id string) bool {
	for _, p := range peers {
		if p.Voter && p.ID != id {
			return true
		}
	}
	return false
}
