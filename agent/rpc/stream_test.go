package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/wire/rpcerr"
)

var count = rpc.StreamMethod[text, text]{Name: "test.count", Callers: rpc.Member, Heartbeat: 50 * time.Millisecond, MaxItem: 1 << 10}

// startStream runs a server with one stream.
func startStream(t *testing.T, c *cluster, fn func(ctx context.Context, send func(*text) error) error) *server {
	t.Helper()
	return start(t, c.join(node.Base), func(s *rpc.Server) {
		rpc.HandleStream(s, count, func(ctx context.Context, _ rpc.Caller, _ *text, send func(*text) error) error {
			return fn(ctx, send)
		})
	})
}

func open(ctx context.Context, t *testing.T, cl *rpc.Client, target rpc.Target) *rpc.Stream[text] {
	t.Helper()
	st, err := rpc.OpenStream(ctx, cl, target, count, &text{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	return st
}

func TestStreamDeliversAndEnds(t *testing.T) {
	c := newCluster(t, "c1")
	s := startStream(t, c, func(_ context.Context, send func(*text) error) error {
		for i := range 100 {
			if err := send(&text{fmt.Sprint(i)}); err != nil {
				return err
			}
		}
		return nil
	})
	st := open(t.Context(), t, client(t, c.join(node.Base)), s.target())
	for i := range 100 {
		got, err := st.Next()
		if err != nil || got.Text != fmt.Sprint(i) {
			t.Fatalf("item %d: %+v, %v", i, got, err)
		}
	}
	for range 2 {
		if _, err := st.Next(); !errors.Is(err, io.EOF) {
			t.Fatalf("after the end: %v", err)
		}
	}
}

// A stream outlives many heartbeats without an item, also concurrently with
// sends from several goroutines.
func TestStreamHeartbeats(t *testing.T) {
	c := newCluster(t, "c1")
	quiet := time.Duration(0)
	s := startStream(t, c, func(_ context.Context, send func(*text) error) error {
		began := time.Now()
		var wg sync.WaitGroup
		time.Sleep(10 * count.Heartbeat) // the silence is what is tested
		quiet = time.Since(began)
		for range 4 {
			wg.Go(func() { send(&text{"x"}) })
		}
		wg.Wait()
		return nil
	})
	st := open(t.Context(), t, client(t, c.join(node.Base)), s.target())
	for range 4 {
		if got, err := st.Next(); err != nil || got.Text != "x" {
			t.Fatalf("after %s: %+v, %v", quiet, got, err)
		}
	}
	if _, err := st.Next(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

func TestStreamErrors(t *testing.T) {
	c := newCluster(t, "c1")
	var mode atomic.Value
	s := startStream(t, c, func(_ context.Context, send func(*text) error) error {
		switch mode.Load() {
		case "panic":
			panic("x")
		case "big":
			return send(&text{strings.Repeat("x", 2<<10)})
		}
		return rpcerr.New(rpcerr.NotFound, "no such thing").WithHint("look elsewhere")
	})
	cl := client(t, c.join(node.Base))
	for m, code := range map[string]rpcerr.Code{"panic": rpcerr.Internal, "big": rpcerr.Internal, "error": rpcerr.NotFound} {
		mode.Store(m)
		if _, err := open(t.Context(), t, cl, s.target()).Next(); !errors.Is(err, code) {
			t.Errorf("%s: %v", m, err)
		}
	}
	if _, err := rpc.OpenStream(t.Context(), anonymous(t, c, c.ca.Digest()), s.target(), count, &text{}); !errors.Is(err, rpcerr.Unauthenticated) {
		t.Errorf("anonymous: %v", err)
	}
}

func TestStreamCancel(t *testing.T) {
	c := newCluster(t, "c1")
	ended := make(chan error, 1)
	s := startStream(t, c, func(ctx context.Context, send func(*text) error) error {
		if err := send(&text{"first"}); err != nil {
			return err
		}
		<-ctx.Done()
		ended <- send(&text{"late"})
		return nil
	})
	cl := client(t, c.join(node.Base))
	ways := map[string]func(cancel context.CancelFunc, st *rpc.Stream[text]){
		"context": func(cancel context.CancelFunc, _ *rpc.Stream[text]) { cancel() },
		"close":   func(_ context.CancelFunc, st *rpc.Stream[text]) { st.Close() },
	}
	for name, end := range ways {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		st := open(ctx, t, cl, s.target())
		if _, err := st.Next(); err != nil {
			t.Fatal(err)
		}
		end(cancel, st)
		if _, err := st.Next(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: Next gives %v", name, err)
		}
		if err := <-ended; err == nil {
			t.Errorf("%s: the handler can still send", name)
		}
	}
}

func TestStreamEndsWhenTheServerStops(t *testing.T) {
	c := newCluster(t, "c1")
	s := startStream(t, c, func(ctx context.Context, _ func(*text) error) error {
		<-ctx.Done()
		return ctx.Err()
	})
	st := open(t.Context(), t, client(t, c.join(node.Base)), s.target())
	s.stop()
	if _, err := st.Next(); !errors.Is(err, rpcerr.Unavailable) {
		t.Fatal(err)
	}
}

// A node that may no longer call a stream loses it by itself, at the next
// heartbeat.
func TestStreamEndsWithTheRight(t *testing.T) {
	c := newCluster(t, "c1")
	watch := rpc.StreamMethod[text, text]{Name: "test.watch", Callers: rpc.Controller, Heartbeat: 50 * time.Millisecond}
	s := start(t, c.join(node.Base), func(s *rpc.Server) {
		rpc.HandleStream(s, watch, func(ctx context.Context, _ rpc.Caller, _ *text, _ func(*text) error) error {
			<-ctx.Done()
			return ctx.Err()
		})
	})
	for name, lose := range map[string]func(node.ID){
		"membership": c.remove,
		"role":       func(id node.ID) { c.setRoles(id, node.Base) },
	} {
		m := c.join(node.Base, node.Controller, node.Router)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		st, err := rpc.OpenStream(ctx, client(t, m), s.target(), watch, &text{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(st.Close)
		lose(m.id)
		if _, err := st.Next(); !errors.Is(err, rpcerr.Denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCloseConnsOf(t *testing.T) {
	c := newCluster(t, "c1")
	s := startStream(t, c, func(ctx context.Context, _ func(*text) error) error {
		<-ctx.Done()
		return ctx.Err()
	})
	gone, stays := c.join(node.Base), c.join(node.Base)
	a := open(t.Context(), t, client(t, gone), s.target())
	b := open(t.Context(), t, client(t, stays), s.target())
	if n := s.CloseConnsOf(gone.id); n != 1 {
		t.Errorf("closed %d", n)
	}
	if _, err := a.Next(); !errors.Is(err, rpcerr.Deadline) {
		t.Errorf("closed connection: %v", err)
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := b.Next()
		waiting <- err
	}()
	select {
	case err := <-waiting:
		t.Errorf("the other node's stream ended: %v", err)
	case <-time.After(5 * count.Heartbeat):
	}
	b.Close()
	<-waiting
}

// freezer is a TCP connection that can fall silent, as if the cable were cut:
// nothing arrives, nothing is refused.
type freezer struct {
	net.Conn
	frozen *atomic.Bool
	thaw   chan struct{}
}

func (f *freezer) Write(b []byte) (int, error) {
	if f.frozen.Load() {
		return len(b), nil
	}
	return f.Conn.Write(b)
}

func (f *freezer) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b)
	if f.frozen.Load() {
		<-f.thaw
		return 0, net.ErrClosed
	}
	return n, err
}

func TestDeadPeer(t *testing.T) {
	c := newCluster(t, "c1")
	hanging := rpc.Method[rpc.Empty, rpc.Empty]{Name: "test.hang", Callers: rpc.Member, Timeout: time.Minute}
	began := make(chan struct{}, 1)
	s := start(t, c.join(node.Base), func(s *rpc.Server) {
		rpc.Handle(s, hanging, func(ctx context.Context, _ rpc.Caller, _ *rpc.Empty) (*rpc.Empty, error) {
			began <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		})
	})
	var frozen atomic.Bool
	thaw := make(chan struct{})
	cl := client(t, c.join(node.Base), func(cfg *rpc.ClientConfig) {
		cfg.PingInterval, cfg.PingTimeout = 100*time.Millisecond, 100*time.Millisecond
		cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return &freezer{conn, &frozen, thaw}, err
		}
	})
	t.Cleanup(func() { close(thaw) })
	go func() {
		<-began
		frozen.Store(true)
	}()
	start := time.Now()
	_, err := rpc.Call(t.Context(), cl, s.target(), hanging, &rpc.Empty{})
	if !errors.Is(err, rpcerr.Deadline) || rpcerr.Retryable(err) || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %s; want the loss to be noticed long before the deadline", err, time.Since(start))
	}
}

// The server stops beating while the connection itself lives.
func TestSilentStream(t *testing.T) {
	c := newCluster(t, "c1")
	slower := count
	slower.Heartbeat = time.Minute
	s := start(t, c.join(node.Base), func(s *rpc.Server) {
		rpc.HandleStream(s, slower, func(ctx context.Context, _ rpc.Caller, _ *text, _ func(*text) error) error {
			<-ctx.Done()
			return ctx.Err()
		})
	})
	_, err := open(t.Context(), t, client(t, c.join(node.Base)), s.target()).Next()
	if !errors.Is(err, rpcerr.Unavailable) || !strings.Contains(err.Error(), "silent") {
		t.Fatal(err)
	}
}
