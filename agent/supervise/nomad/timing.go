package nomad

import (
	"errors"
	"time"
)

// Timing is how fast Nomad notices that something is gone.
type Timing struct {
	RaftMultiplier int // of Raft's timeouts, 1 is the fastest, at most 10
	// A client has max(MinHeartbeatTTL, nodes ÷ MaxHeartbeatsPerSecond), up to
	// doubled at random, and HeartbeatGrace after that, to report; then its
	// instances are placed elsewhere.
	MinHeartbeatTTL        time.Duration
	HeartbeatGrace         time.Duration
	MaxHeartbeatsPerSecond float64
	// FailoverHeartbeatTTL is the time that clients have after a change of
	// leader. Nomad's default of 5 min would hide every node lost together
	// with the leader. It must be more than 30 s: a client that was told that
	// there is no leader tries again after 15 to 30 s (client/client.go,
	// registerRetryIntv), and if it comes too late all its instances are
	// replaced, of every node at once.
	FailoverHeartbeatTTL time.Duration
	// KeepAlive and WriteTimeout bound how long a call waits for a server that
	// is frozen or whose machine has lost its power: connections are probed
	// each KeepAlive, and end when nothing is heard for WriteTimeout. With
	// Nomad's 30 s and 10 s heartbeats that were on their way to a leader that
	// froze came too late for the next one.
	KeepAlive, WriteTimeout time.Duration
	// Stabilization is how long a new server must be healthy before it votes;
	// used only when a cluster is made.
	Stabilization time.Duration
}

// LAN is the timing for nodes in one place.
func LAN() Timing {
	return Timing{
		RaftMultiplier: 1, MinHeartbeatTTL: 2 * time.Second, HeartbeatGrace: 5 * time.Second,
		MaxHeartbeatsPerSecond: 250, FailoverHeartbeatTTL: 35 * time.Second, Stabilization: 10 * time.Second,
		KeepAlive: time.Second, WriteTimeout: 4 * time.Second,
	}
}

// WAN is the timing for slow or lossy links.
func WAN() Timing {
	return Timing{
		RaftMultiplier: 5, MinHeartbeatTTL: 10 * time.Second, HeartbeatGrace: 20 * time.Second,
		MaxHeartbeatsPerSecond: 50, FailoverHeartbeatTTL: 60 * time.Second, Stabilization: 10 * time.Second,
		KeepAlive: 5 * time.Second, WriteTimeout: 10 * time.Second,
	}
}

func (t Timing) validate() error {
	if t.RaftMultiplier < 1 || t.RaftMultiplier > 10 {
		return errors.New("nomad: Timing.RaftMultiplier must be 1 to 10")
	}
	if t.MinHeartbeatTTL <= 0 || t.HeartbeatGrace <= 0 || t.FailoverHeartbeatTTL <= 0 ||
		t.MaxHeartbeatsPerSecond <= 0 || t.Stabilization <= 0 || t.KeepAlive <= 0 || t.WriteTimeout <= 0 {
		return errors.New("nomad: every field of Timing must be above zero")
	}
	return nil
}
