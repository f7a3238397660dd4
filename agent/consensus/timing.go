package consensus

import (
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Timing is a set of Raft's timers. See the hashicorp/raft Config for what
// each means; all are durations.
type Timing struct {
	Heartbeat   time.Duration // a follower without contact for 1–2 × this starts an election
	Election    time.Duration // a candidate without result for 1–2 × this starts anew
	LeaderLease time.Duration // a leader without a quorum for this steps down
	Commit      time.Duration // idle time after which the commit index is sent along, had [Node] failed to tell it at once
}

// TimingProfile returns the timers of a named profile.
//
//   - lan: a dead Primary is replaced in about half a second. For nodes in
//     one site, round trips under 10 ms.
//   - wan: for round trips up to 200 ms; a dead Primary takes seconds.
func TimingProfile(name string) (Timing, error) {
	switch name {
	case "lan":
		return Timing{400 * time.Millisecond, 400 * time.Millisecond, 300 * time.Millisecond, 200 * time.Millisecond}, nil
	case "wan":
		return Timing{2500 * time.Millisecond, 2500 * time.Millisecond, 2 * time.Second, 500 * time.Millisecond}, nil
	}
	return Timing{}, fmt.Errorf("unknown timing profile %q: use lan or wan", name)
}

func (t Timing) apply(c *raft.Config) {
	c.HeartbeatTimeout = t.Heartbeat
	c.ElectionTimeout = t.Election
	c.LeaderLeaseTimeout = t.LeaderLease
	c.CommitTimeout = t.Commit
}
