package router_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stackato/stackato/router"
	"github.com/stackato/stackato/wire/routing"
)

// instance is an app that stops as a well-behaved one does at SIGTERM: no new
// connections, idle ones closed, what it works on answered.
type instance struct {
	routing.Backend
	server *http.Server
	done   chan struct{}
}

func startInstance(t *testing.T, id string) *instance {
	t.Helper()
	l := loopback(t)
	i := &instance{Backend: backendOf(l.Addr().String(), id), done: make(chan struct{})}
	i.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		n, err := io.Copy(io.Discard, req.Body)
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprint(w, n)
	})}
	go func() { _ = i.server.Serve(l); close(i.done) }()
	return i
}

func (i *instance) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_ = i.server.Shutdown(ctx)
	<-i.done
}

// TestRollingLosesNothing replaces 20 instances one by one while clients send
// requests as fast as they can, kept alive and not, with and without bodies. The
// feed is late: it drops an instance only after that has stopped.
func TestRollingLosesNothing(t *testing.T) {
	const instances = 20
	feed := newControllers()
	r := start(t, feed, func(c *router.Config) { c.Logger, c.Settle = slog.New(slog.DiscardHandler), 50*time.Millisecond })
	var running []*instance
	publish := func() {
		route := routeTo("app.example.com", "")
		for _, i := range running {
			route.Backends = append(route.Backends, i.Backend)
		}
		feed.set(route)
	}
	for n := range instances {
		running = append(running, startInstance(t, fmt.Sprint("old-", n)))
	}
	publish()
	r.routed(t, "app.example.com", 200)

	var sent, failed atomic.Int64
	var firstFailure atomic.Pointer[string]
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for n := range 8 {
		clients.Go(func() {
			client := r.client()
			if n%2 == 0 {
				client.Transport.(*http.Transport).DisableKeepAlives = false
				defer client.CloseIdleConnections()
			}
			for ctx.Err() == nil {
				if err := request(client, n, int(sent.Add(1))); err != nil {
					failed.Add(1)
					text := err.Error()
					firstFailure.CompareAndSwap(nil, &text)
				}
			}
		})
	}
	for n := range instances {
		before := sent.Load()
		eventually(t, "requests between the steps", func() bool { return sent.Load() > before+30 })
		next := startInstance(t, fmt.Sprint("new-", n))
		old := running[0]
		running = append(running, next)
		publish()
		// The stop path: routers first, the app then, controllers when they hear of it.
		withdraw, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if err := r.Withdraw(withdraw, routing.Withdrawal{AllocID: old.AllocID, Address: old.Address}); err != nil {
			t.Error(err)
		}
		cancel()
		old.stop()
		running = running[1:]
		publish()
	}
	stop()
	clients.Wait()
	for _, i := range running {
		i.stop()
	}
	t.Logf("%d requests, %d retries", sent.Load(), int(metric(t, r.Router, "stackato_router_retries_total")))
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed, the first: %s", n, sent.Load(), *firstFailure.Load())
	}
}

// request sends one, every third with a body: small, large, or of unknown length.
func request(client *http.Client, worker, number int) error {
	method, body, want := http.MethodGet, io.Reader(nil), "0"
	switch number % 9 {
	case 0:
		method, body, want = http.MethodPost, strings.NewReader("small"), "5"
	case 3:
		method, body, want = http.MethodPost, strings.NewReader(strings.Repeat("x", 100<<10)), "102400"
	case 6:
		method, body, want = http.MethodPost, io.MultiReader(strings.NewReader("pieces")), "6"
	}
	req, err := http.NewRequestWithContext(context.Background(), method, fmt.Sprintf("http://app.example.com/%d", worker), body)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != http.StatusOK || string(text) != want) {
		err = fmt.Errorf("%s %d: %d %q", method, number, res.StatusCode, text)
	}
	return err
}

// TestInstancesThatVanish: without a stop path, by a crash of the node, requests
// that may be repeated are not lost either.
func TestInstancesThatVanish(t *testing.T) {
	feed := newControllers()
	r := start(t, feed, nil)
	first, second := startInstance(t, "first"), startInstance(t, "second")
	feed.set(routeTo("app.example.com", "", first.Backend, second.Backend))
	r.routed(t, "app.example.com", 200)
	first.server.Close()
	<-first.done
	for range 10 {
		if got := r.get(t, "http://app.example.com/"); got.StatusCode != http.StatusOK {
			t.Errorf("got %d", got.StatusCode)
		}
	}
	second.stop()
	if c, err := net.Dial("tcp", second.Address); err == nil {
		c.Close()
		t.Error("still listens")
	}
	if got := r.get(t, "http://app.example.com/"); got.StatusCode != http.StatusBadGateway {
		t.Errorf("got %d", got.StatusCode)
	}
}
