package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/wire/rpcerr"
)

// dialCounter counts the TCP connections of a client.
type dialCounter struct{ n atomic.Int32 }

func (d *dialCounter) count(cfg *rpc.ClientConfig) {
	cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		d.n.Add(1)
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
}

func TestEchoSharesOneConnection(t *testing.T) {
	c := newCluster(t, "c1")
	s := start(t, c.join(node.Base), registerEcho)
	dials := &dialCounter{}
	cl := client(t, c.join(node.Base), dials.count)
	call := func(i int) {
		want := fmt.Sprint("hello ", i)
		got, err := rpc.Call(t.Context(), cl, s.target(), echo, &text{want})
		if err != nil || got.Text != want {
			t.Errorf("%+v, %v", got, err)
		}
	}
	call(0)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() { call(i) })
	}
	wg.Wait()
	if n := dials.n.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestErrorsCrossTheWire(t *testing.T) {
	c := newCluster(t, "c1")
	fail := rpc.Method[text, text]{Name: "test.fail", Callers: rpc.Member | rpc.Anonymous}
	errs := map[string]error{
		"conflict": fmt.Errorf("add: %w", rpcerr.New(rpcerr.Conflict, "taken").WithHint("use another")),
		"leader":   rpcerr.New(rpcerr.Unavailable, "no leader"),
		"rule":     &node.RuleError{Reason: "not so", Hint: "but so"},
		"plain":    io.ErrClosedPipe,
	}
	s := start(t, c.join(node.Base), func(s *rpc.Server) {
		rpc.Handle(s, fail, func(_ context.Context, _ rpc.Caller, req *text) (*text, error) {
			switch req.Text {
			case "panic":
				panic("secret detail")
			case "nothing":
				return nil, nil
			}
			return nil, errs[req.Text]
		})
	})
	member, anon := client(t, c.join(node.Base)), anonymous(t, c, c.ca.Digest())
	tests := []struct {
		name   string
		client *rpc.Client
		want   *rpcerr.Error
	}{
		{"conflict", member, &rpcerr.Error{ErrCode: rpcerr.Conflict, Message: "add: taken", ErrHint: "use another"}},
		{"leader", member, &rpcerr.Error{ErrCode: rpcerr.Unavailable, Message: "no leader", Retryable: true}},
		{"rule", member, &rpcerr.Error{ErrCode: rpcerr.Precondition, Message: "not so", ErrHint: "but so"}},
		{"plain", member, &rpcerr.Error{ErrCode: rpcerr.Internal, Message: io.ErrClosedPipe.Error()}},
		{"nothing", member, &rpcerr.Error{ErrCode: rpcerr.Internal, Message: "the handler gave neither response nor error"}},
		{"panic", member, &rpcerr.Error{ErrCode: rpcerr.Internal, Message: "test.fail failed on this node, request id-1", ErrHint: "the node's log has the reason: look for the request id"}},
		// Who has not proved anything learns nothing about our inside.
		{"plain", anon, &rpcerr.Error{ErrCode: rpcerr.Internal, Message: "test.fail failed on this node, request id-1", ErrHint: "the node's log has the reason: look for the request id"}},
		{"conflict", anon, &rpcerr.Error{ErrCode: rpcerr.Conflict, Message: "add: taken", ErrHint: "use another"}},
	}
	for _, tt := range tests {
		_, err := rpc.Call(rpc.WithRequestID(t.Context(), "id-1"), tt.client, s.target(), fail, &text{tt.name})
		var got *rpcerr.Error
		if !errors.As(err, &got) {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreUnexported(rpcerr.Error{})); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestPanicIsLoggedWithStack(t *testing.T) {
	c := newCluster(t, "c1")
	var log lockedBuffer
	s := start(t, c.join(node.Base), func(s *rpc.Server) {
		rpc.Handle(s, echo, func(context.Context, rpc.Caller, *text) (*text, error) { panic("boom") })
	}, func(cfg *rpc.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	if _, err := rpc.Call(t.Context(), client(t, c.join(node.Base)), s.target(), echo, &text{}); !errors.Is(err, rpcerr.Internal) {
		t.Fatal(err)
	}
	for _, want := range []string{"boom", "call_test.go", "test.echo"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestRequestsAreChecked(t *testing.T) {
	c := newCluster(t, "c1")
	small := rpc.Method[text, text]{Name: "test.small", Callers: rpc.Member, MaxBody: 100}
	s := start(t, c.join(node.Base), func(s *rpc.Server) {
		rpc.Handle(s, small, func(_ context.Context, _ rpc.Caller, req *text) (*text, error) { return req, nil })
	})
	cl := client(t, c.join(node.Base))

	type wider struct {
		Text string `json:"text"`
		More string `json:"more,omitempty"`
	}
	wide := rpc.Method[wider, wider]{Name: "test.small", Callers: rpc.Member}
	if _, err := rpc.Call(t.Context(), cl, s.target(), wide, &wider{Text: "x"}); err != nil {
		t.Errorf("the known fields alone: %v", err)
	}
	_, err := rpc.Call(t.Context(), cl, s.target(), wide, &wider{More: "x"})
	if !errors.Is(err, rpcerr.Invalid) || !strings.Contains(err.Error(), `"more"`) {
		t.Errorf("unknown field: %v", err)
	}
	_, err = rpc.Call(t.Context(), cl, s.target(), small, &text{strings.Repeat("x", 100)})
	if !errors.Is(err, rpcerr.Invalid) || !strings.Contains(err.Error(), "larger than 100 bytes") {
		t.Errorf("too big: %v", err)
	}
	newer := rpc.Method[text, text]{Name: "test.of-tomorrow", Callers: rpc.Member}
	if _, err = rpc.Call(t.Context(), cl, s.target(), newer, &text{}); !errors.Is(err, rpcerr.UnsupportedVersion) {
		t.Errorf("unknown method: %v", err)
	}
	tiny := rpc.Method[text, text]{Name: "test.small", Callers: rpc.Member, MaxResponse: 20}
	if _, err = rpc.Call(t.Context(), cl, s.target(), tiny, &text{strings.Repeat("x", 50)}); !errors.Is(err, rpcerr.Internal) {
		t.Errorf("response too big: %v", err)
	}
}

func TestDeadlines(t *testing.T) {
	c := newCluster(t, "c1")
	slow := rpc.Method[rpc.Empty, rpc.Empty]{Name: "test.slow", Callers: rpc.Member, Timeout: 100 * time.Millisecond}
	ended := make(chan error, 10)
	s := start(t, c.join(node.Base), func(s *rpc.Server) {
		rpc.Handle(s, slow, func(ctx context.Context, _ rpc.Caller, _ *rpc.Empty) (*rpc.Empty, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		})
	})
	cl := client(t, c.join(node.Base))
	for name, limit := range map[string]time.Duration{"none": 0, "longer": 30 * time.Second, "shorter": 50 * time.Millisecond} {
		ctx, cancel := t.Context(), context.CancelFunc(func() {})
		if limit > 0 {
			ctx, cancel = context.WithTimeout(ctx, limit)
		}
		defer cancel()
		began := time.Now()
		_, err := rpc.Call(ctx, cl, s.target(), slow, &rpc.Empty{})
		if !errors.Is(err, rpcerr.Deadline) || time.Since(began) > 5*time.Second {
			t.Errorf("%s: %v after %s", name, err, time.Since(began))
		}
		<-ended // the handler's context ends too
	}
}

func TestCancelledCallEndsTheHandler(t *testing.T) {
	c := newCluster(t, "c1")
	began, ended := make(chan struct{}), make(chan error, 1)
	s := start(t, c.join(node.Base), func(s *rpc.Server) {
		rpc.Handle(s, echo, func(ctx context.Context, _ rpc.Caller, _ *text) (*text, error) {
			close(began)
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		})
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	_, err := rpc.Call(ctx, client(t, c.join(node.Base)), s.target(), echo, &text{})
	if !errors.Is(err, context.Canceled) || rpcerr.Retryable(err) {
		t.Errorf("caller: %v", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("handler: %v", err)
	}
}

func TestUnreachableIsRetryable(t *testing.T) {
	c := newCluster(t, "c1")
	s := start(t, c.join(node.Base), registerEcho)
	s.stop()
	_, err := rpc.Call(t.Context(), client(t, c.join(node.Base)), s.target(), echo, &text{})
	if !errors.Is(err, rpcerr.Unavailable) || !rpcerr.Retryable(err) {
		t.Errorf("got %v", err)
	}
}

// TestLostConnection: who broke off in the middle is told from who refuses, from
// who cannot be reached, and from who is too slow.
func TestLostConnection(t *testing.T) {
	c := newCluster(t, "c1")
	entered, leave := make(chan struct{}), make(chan struct{})
	s := start(t, c.join(node.Base), func(s *rpc.Server) {
		rpc.Handle(s, echo, func(ctx context.Context, _ rpc.Caller, in *text) (*text, error) {
			if in.Text == "refuse" {
				return nil, rpcerr.New(rpcerr.Deadline, "no Primary in time")
			}
			entered <- struct{}{}
			<-leave
			return in, nil
		})
	})
	var conns []net.Conn
	cl := client(t, c.join(node.Base), func(cfg *rpc.ClientConfig) {
		cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			conns = append(conns, conn)
			return conn, err
		}
	})
	if _, err := rpc.Call(t.Context(), cl, s.target(), echo, &text{"refuse"}); !errors.Is(err, rpcerr.Deadline) || errors.Is(err, rpc.ErrLost) {
		t.Errorf("refused: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	if _, err := rpc.Call(ctx, cl, s.target(), echo, &text{"cancel"}); errors.Is(err, rpc.ErrLost) {
		t.Errorf("cancelled: %v", err)
	}
	go func() { <-entered; conns[0].Close() }()
	_, err := rpc.Call(t.Context(), cl, s.target(), echo, &text{"break"})
	if !errors.Is(err, rpc.ErrLost) || !errors.Is(err, rpcerr.Deadline) || rpcerr.Retryable(err) {
		t.Errorf("broken: %v", err)
	}
	close(leave)
	s.stop()
	if _, err := rpc.Call(t.Context(), cl, s.target(), echo, &text{"gone"}); errors.Is(err, rpc.ErrLost) {
		t.Errorf("unreachable: %v", err)
	}
}

func TestRequestIDTravelsOn(t *testing.T) {
	c := newCluster(t, "c1")
	s := start(t, c.join(node.Base), func(s *rpc.Server) {
		rpc.Handle(s, echo, func(ctx context.Context, caller rpc.Caller, _ *text) (*text, error) {
			if caller.RequestID != rpc.RequestID(ctx) {
				t.Errorf("%q and %q", caller.RequestID, rpc.RequestID(ctx))
			}
			return &text{caller.RequestID}, nil
		})
	})
	cl := client(t, c.join(node.Base))
	for id, same := range map[string]bool{"abc-1": true, "": false, "bad id\"": false} {
		got, err := rpc.Call(rpc.WithRequestID(t.Context(), id), cl, s.target(), echo, &text{})
		if err != nil || got.Text == "" || (got.Text == id) != same {
			t.Errorf("%q: %+v, %v", id, got, err)
		}
	}
}

func TestObserve(t *testing.T) {
	c := newCluster(t, "c1")
	events := make(chan rpc.Event, 10)
	observe := func(e rpc.Event) {
		if e.Duration <= 0 {
			t.Errorf("duration %s", e.Duration)
		}
		e.Duration = 0
		events <- e
	}
	s := start(t, c.join(node.Base), registerEcho, func(cfg *rpc.Config) { cfg.Observe = observe })
	cl := client(t, c.join(node.Base), func(cfg *rpc.ClientConfig) { cfg.Observe = observe })
	if _, err := rpc.Call(t.Context(), cl, s.target(), echo, &text{}); err != nil {
		t.Fatal(err)
	}
	newer := rpc.Method[text, text]{Name: "test.newer", Callers: rpc.Member}
	if _, err := rpc.Call(t.Context(), cl, s.target(), newer, &text{}); err == nil {
		t.Fatal("unknown method")
	}
	got := map[rpc.Event]int{}
	for range 4 {
		got[<-events]++
	}
	want := map[rpc.Event]int{
		{Server: true, Method: "test.echo"}:                                1,
		{Method: "test.echo"}:                                              1,
		{Server: true, Method: "unknown", Code: rpcerr.UnsupportedVersion}: 1,
		{Method: "test.newer", Code: rpcerr.UnsupportedVersion}:            1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestStopWaitsForRunningCalls(t *testing.T) {
	c := newCluster(t, "c1")
	began, release := make(chan struct{}), make(chan struct{})
	s := start(t, c.join(node.Base), func(s *rpc.Server) {
		rpc.Handle(s, echo, func(_ context.Context, _ rpc.Caller, req *text) (*text, error) {
			close(began)
			<-release
			return req, nil
		})
	}, func(cfg *rpc.Config) { cfg.Grace = 10 * time.Second })
	cl := client(t, c.join(node.Base))
	result := make(chan error, 1)
	go func() {
		_, err := rpc.Call(context.Background(), cl, s.target(), echo, &text{})
		result <- err
	}()
	<-began
	stopped := make(chan struct{})
	go func() {
		s.stop()
		close(stopped)
	}()
	eventually(t, "new calls are refused", func() bool {
		_, err := rpc.Call(t.Context(), cl, s.target(), echo, &text{})
		return errors.Is(err, rpcerr.Unavailable) && rpcerr.Retryable(err)
	})
	close(release)
	if err := <-result; err != nil {
		t.Errorf("the running call: %v", err)
	}
	<-stopped
}

func TestClosedClient(t *testing.T) {
	c := newCluster(t, "c1")
	began := make(chan struct{})
	s := start(t, c.join(node.Base), func(s *rpc.Server) {
		rpc.Handle(s, echo, func(ctx context.Context, _ rpc.Caller, req *text) (*text, error) {
			close(began)
			<-ctx.Done()
			return nil, ctx.Err()
		})
	})
	cl := client(t, c.join(node.Base))
	go func() {
		<-began
		cl.Close()
	}()
	// What runs may have been done, what comes later was not even sent.
	for _, want := range []rpcerr.Code{rpcerr.Deadline, rpcerr.Unavailable} {
		if _, err := rpc.Call(t.Context(), cl, s.target(), echo, &text{}); !errors.Is(err, want) || rpcerr.Retryable(err) {
			t.Errorf("%v, want the code %s", err, want)
		}
	}
}
