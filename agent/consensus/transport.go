package consensus

import (
	"net"
	"time"

	"github.com/hashicorp/raft"
)

// StreamLayer carries Raft's connections. Its listener must hand out only
// connections of peers that may take part in the group (agent/rpc checks the
// peer's certificate).
type StreamLayer interface {
	net.Listener
	// DialRaft connects to the member that listens on addr (host:port).
	DialRaft(addr string, timeout time.Duration) (net.Conn, error)
}

type streamLayer struct{ StreamLayer }

// Dial implements raft.StreamLayer.
func (s streamLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return s.DialRaft(string(addr), timeout)
}
