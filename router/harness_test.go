package router_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stackato/stackato/router"
	"github.com/stackato/stackato/wire/logs"
	"github.com/stackato/stackato/wire/routing"
)

func TestMain(m *testing.M) {
	if os.Getenv(insideOwnNetwork) == "1" {
		os.Exit(m.Run()) // instances that are cut off do not learn that the router is gone
	}
	goleak.VerifyTestMain(m)
}

// controllers is a feed as controllers give it.
type controllers struct {
	mu      sync.Mutex
	down    bool
	source  string
	term    uint64
	version uint64
	routes  map[routing.Key]routing.Route
	system  *routing.System
	streams map[chan *routing.Update]context.CancelFunc
}

func newControllers() *controllers {
	return &controllers{source: "a", term: 1, routes: map[routing.Key]routing.Route{}, streams: map[chan *routing.Update]context.CancelFunc{}}
}

var errDown = errors.New("no controller answers")

func (c *controllers) Subscribe(ctx context.Context, have routing.Position, apply func(*routing.Update) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	updates := make(chan *routing.Update, 1000)
	c.mu.Lock()
	if c.down {
		c.mu.Unlock()
		return errDown
	}
	first := &routing.Update{Term: c.term, Version: c.version, Source: c.source, Snapshot: true, System: c.system}
	for _, r := range c.routes {
		first.Routes = append(first.Routes, r)
	}
	if have == first.Position() {
		first = &routing.Update{Term: c.term, Version: c.version, Source: c.source}
	}
	c.streams[updates] = cancel
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.streams, updates)
		c.mu.Unlock()
	}()
	for u := first; ; {
		if err := apply(u); err != nil {
			return err
		}
		select {
		case u = <-updates:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// set changes a route, or removes it if it has no GUID.
func (c *controllers) set(r routing.Route) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version++
	u := &routing.Update{Term: c.term, Version: c.version, Source: c.source}
	if r.GUID == "" {
		delete(c.routes, r.Key)
		u.Removed = []routing.Key{r.Key}
	} else {
		c.routes[r.Key] = r
		u.Routes = []routing.Route{r}
	}
	for s := range c.streams {
		s <- u
	}
}

// fail ends all streams, and refuses new ones if down.
func (c *controllers) fail(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
	for _, cancel := range c.streams {
		cancel()
	}
}

// running is a router in a test.
type running struct {
	*router.Router
	http  string // address
	https string
	stop  func()
}

// start runs a router until the test ends.
func start(t *testing.T, feed *controllers, change func(*router.Config)) *running {
	t.Helper()
	cfg := router.Config{
		HTTPListener: loopback(t), Feed: feed, DrainTimeout: 5 * time.Second,
		Logger: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	cfg.Watch.MinBackoff, cfg.Watch.MaxBackoff, cfg.Watch.StaleAfter = time.Millisecond, 10*time.Millisecond, time.Nanosecond
	cfg.Watch.SaveInterval = time.Millisecond
	if change != nil {
		change(&cfg)
	}
	r, err := router.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	run := &running{Router: r, http: cfg.HTTPListener.Addr().String()}
	if cfg.HTTPSListener != nil {
		run.https = cfg.HTTPSListener.Addr().String()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	run.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("router ended: %v", err)
		}
	})
	t.Cleanup(run.stop)
	return run
}

func loopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// app starts an instance that answers with h.
func app(t *testing.T, id string, h http.HandlerFunc) (*httptest.Server, routing.Backend) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s, backendOf(s.Listener.Addr().String(), id)
}

func backendOf(address, id string) routing.Backend {
	return routing.Backend{Address: address, AllocID: id, AppGUID: "app", AppName: "app", Process: "web", Node: "node-1"}
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
}

func routeTo(host, path string, to ...routing.Backend) routing.Route {
	return routing.Route{Key: routing.Key{Host: host, Path: path}, GUID: "route-" + host + path, Backends: to}
}

// answer is a response, read.
type answer struct {
	*http.Response
	text string
}

func (r *running) do(t *testing.T, method, url string, body io.Reader, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := r.client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res, string(text)}
}

func (r *running) get(t *testing.T, url string, header ...string) answer {
	t.Helper()
	return r.do(t, http.MethodGet, url, nil, header...)
}

// client connects to the router whatever the host of a URL.
func (r *running) client() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, r.http)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// raw sends bytes and reads one response.
func (r *running) raw(t *testing.T, request string) answer {
	t.Helper()
	conn, err := net.Dial("tcp", r.http)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return answer{res, string(text)}
}

// routed waits until the router answers for a host with a status.
func (r *running) routed(t *testing.T, host string, status int) {
	t.Helper()
	eventually(t, host+" routed", func() bool { return r.get(t, "http://"+host+"/").StatusCode == status })
}

// lines collects lines of apps' logs.
type lines struct {
	mu  sync.Mutex
	all []logs.Line
}

func (l *lines) add(line logs.Line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, line)
}

func (l *lines) get() []logs.Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]logs.Line(nil), l.all...)
}
