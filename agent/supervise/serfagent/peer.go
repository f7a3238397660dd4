package serfagent

import (
	"context"
	"slices"
)

// Peer is a server in a Raft configuration.
type Peer struct {
	ID      string `json:"id"`      // the node id
	Node    string `json:"node"`    // in Nomad with the region: "alpha.global"
	Address string `json:"address"` // host:port
	Leader  bool   `json:"leader"`
	Voter   bool   `json:"voter"`
}

// In reports whether the server with that node id is among the peers.
func In(peers []Peer, id string) bool {
	return slices.ContainsFunc(peers, func(p Peer) bool { return p.ID == id })
}

// Votes reports whether it is, and votes.
func Votes(peers []Peer, id string) bool {
	return slices.ContainsFunc(peers, func(p Peer) bool { return p.ID == id && p.Voter })
}

// Peers is the Raft configuration of Consul or Nomad, as a client sees and
// changes it.
type Peers interface {
	// RaftPeers lists the servers. One that joined votes only after the
	// stabilisation time.
	RaftPeers(ctx context.Context) ([]Peer, error)
	// RemovePeer takes the server with that node id out. One that is not in is
	// no error.
	RemovePeer(ctx context.Context, id string) error
}

// StepDown takes the server with that node id out of the Raft configuration
// while its process still runs: so it cannot be gone before the others have
// agreed to do without it. (Nomad allows itself five seconds to leave by
// signal and ends then in any case, which was seen to cost the remaining one
// of two servers its quorum.) The last one stays. Somebody else may remove it
// at the same time. An error means that the others could not agree, and that
// the process must run on.
func StepDown(ctx context.Context, of Peers, id string) error {
	in := func() (bool, error) {
		peers, err := of.RaftPeers(ctx)
		return len(peers) > 1 && In(peers, id), err
	}
	is, err := in()
	if err != nil || !is {
		return err
	}
	if err := of.RemovePeer(ctx, id); err != nil {
		if is, again := in(); again != nil || is {
			return err
		}
	}
	return nil
}
