package rpc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/wire/rpcerr"
)

// serveRaft echoes on every Raft connection until the listener is closed.
func serveRaft(t *testing.T, s *server) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := s.Raft().Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
	t.Cleanup(func() {
		s.Raft().Close()
		<-done
	})
}

func roundTrip(conn net.Conn) error {
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write([]byte("ping")); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 4))
	return err
}

func TestRaftIsForControllers(t *testing.T) {
	c := newCluster(t, "c1")
	stranger := c.join(node.Base, node.Controller, node.Router) // of a table newer than ours
	c.remove(stranger.id)
	s := start(t, c.join(node.Base, node.Controller, node.Router), registerEcho, func(cfg *rpc.Config) {
		cfg.AdmitRaft = func(id pki.Identity) bool { return id.ID == stranger.id }
	})
	serveRaft(t, s)
	expired := c.join(node.Base, node.Controller, node.Router)
	expired.renew(time.Minute)
	expiredStranger := &creds{cluster: c, id: stranger.id}
	expiredStranger.renew(time.Minute)
	removed := c.join(node.Base, node.Controller, node.Router)
	c.remove(removed.id)
	c.advance(time.Hour)
	foreign := newCluster(t, "c2").join(node.Base, node.Controller, node.Router)
	foreign.setRoots(c.ca.Cert())

	tests := []struct {
		name   string
		client *rpc.Client
		code   rpcerr.Code // "" if it is let in
		want   string
	}{
		{"controller", client(t, c.join(node.Base, node.Controller, node.Router)), "", ""},
		{"not in an old table, vouched for", client(t, stranger), "", ""},
		{"the same, expired", client(t, expiredStranger), rpcerr.Denied, "does not belong"},
		{"without the role", client(t, c.join(node.Base, node.DEA)), rpcerr.Denied, "raft is for controllers"},
		{"expired", client(t, expired), rpcerr.Denied, "is expired"},
		{"removed", client(t, removed), rpcerr.Denied, "does not belong"},
		{"anonymous", anonymous(t, c, c.ca.Digest()), rpcerr.Denied, "is anonymous"},
		{"other cluster", client(t, trusting{foreign, c.id}), rpcerr.Unauthenticated, "of another cluster"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := tt.client.DialRaft(t.Context(), s.target())
			if tt.code != "" {
				if !errors.Is(err, tt.code) || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("got %v, want %s %q", err, tt.code, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := roundTrip(conn); err != nil {
				t.Fatal(err)
			}
		})
	}
	m := client(t, c.join(node.Base, node.Controller, node.Router))
	if _, err := m.DialRaft(t.Context(), rpc.Target{ID: node.NewID(), Addr: s.Addr().String()}); !errors.Is(err, rpcerr.Unauthenticated) {
		t.Errorf("another node than wanted: %v", err)
	}
}

func TestRaftConnectionsEnd(t *testing.T) {
	c := newCluster(t, "c1")
	s := start(t, c.join(node.Base, node.Controller, node.Router), registerEcho)
	serveRaft(t, s)
	dial := func() (*creds, net.Conn) {
		m := c.join(node.Base, node.Controller, node.Router)
		conn, err := client(t, m).DialRaft(t.Context(), s.target())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := roundTrip(conn); err != nil {
			t.Fatal(err)
		}
		return m, conn
	}
	gone, a := dial()
	_, b := dial()
	if n := s.CloseConnsOf(gone.id); n != 1 {
		t.Errorf("closed %d connections", n)
	}
	if err := roundTrip(a); err == nil {
		t.Error("the removed node's connection still works")
	}
	if err := roundTrip(b); err != nil {
		t.Errorf("another node's connection: %v", err)
	}
	s.stop()
	if err := roundTrip(b); err == nil {
		t.Error("the connection works after the server stopped")
	}
}

// Nobody accepts: the dialer's own deadline ends it, nothing leaks.
func TestRaftDialHasADeadline(t *testing.T) {
	c := newCluster(t, "c1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = client(t, c.join(node.Base)).DialRaft(ctx, rpc.Target{Addr: l.Addr().String()})
	if !errors.Is(err, rpcerr.Deadline) {
		t.Fatal(err)
	}
}
