package agent

import (
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stackato/stackato/agent/local"
)

// loseFirstAnswer stands before an address. Of the first connection it passes
// on what the caller says, and the answer only as far as the handshake; when
// done has returned it breaks that connection. Later ones are passed on whole.
// It returns where it listens.
func loseFirstAnswer(t *testing.T, to string, done func()) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for first := true; ; first = false {
			caller, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				caller.Close()
				continue
			}
			if !first {
				go pass(caller, server, nil)
				go pass(server, caller, nil)
				continue
			}
			var flights atomic.Int32 // of the caller: the second one ends the handshake
			go pass(server, caller, func([]byte) bool { flights.Add(1); return true })
			go pass(caller, server, func([]byte) bool { return flights.Load() < 2 })
			go func() {
				done()
				caller.Close()
				server.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// pass copies what comes from a connection to another one, those parts that
// may pass (nil: all).
func pass(to, from net.Conn, may func([]byte) bool) {
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && (may == nil || may(buf[:n])) {
			if _, err := to.Write(buf[:n]); err != nil {
				_, _ = io.Copy(io.Discard, from)
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// TestJoinWhoseAnswerIsLost: the cluster has taken the node in, and the node
// does not hear of it. It asks again, and is the node that was taken in.
func TestJoinWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	n1 := newMachine(t, "n1").start()
	n1.initialise()
	n2 := newMachine(t, "n2").start()
	var before []local.NodeView // as the cluster was when the answer was lost
	lost := make(chan struct{})
	addr := loseFirstAnswer(t, n1.rpc(), func() {
		defer close(lost)
		for ctx := n1.ctx(); ctx.Err() == nil && len(before) < 2; {
			before, _ = n1.Nodes(ctx)
		}
	})
	_, err := n2.Join(n2.ctx(), local.JoinRequest{
		Primaries: []string{addr}, Token: n1.token(local.TokenCreateRequest{Roles: []string{"dea"}}), Roles: []string{"dea"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	<-lost
	if !slices.ContainsFunc(before, func(n local.NodeView) bool { return n.ID == n2.id() }) {
		t.Errorf("the first request did not make it a member: %+v", before)
	}
	g := &group{t: t, machines: []*machine{n1, n2}}
	t.Cleanup(g.cancel)
	g.settle()
	if n := len(n1.state().Nodes); n != 2 {
		t.Errorf("the cluster has %d nodes", n)
	}
}
