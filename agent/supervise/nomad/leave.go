package nomad

import (
	"context"

	"github.com/stackato/stackato/agent/supervise"
)

// Leave takes the agent with that node id out of the servers and ends its
// process. A server leaves the Raft configuration first: Nomad allows itself
// five seconds to leave by signal and ends then in any case, which was seen to
// cost the remaining one of two servers its quorum.
//
// When the other servers cannot agree to the removal the error is returned
// and the process runs on; Child.Stop ends it regardless of them. cl must call
// this agent with a token that has operator:write.
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
	return child.StopBy(ctx, LeaveSignal)
}

func othersVote(peers []Peer, id string) bool {
	for _, p := range peers {
		if p.Voter && p.ID != id {
			return true
		}
	}
	return false
}
