package router_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stackato/stackato/router"
	"github.com/stackato/stackato/wire/routing"
)

// TestServesWithoutControllers: a router that starts while every controller is
// gone serves the table of its last run.
func TestServesWithoutControllers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "routes.json")
	keep := func(c *router.Config) { c.TableFile = file }
	feed := newControllers()
	_, b := app(t, "one", says("one"))
	feed.set(routeTo("app.example.com", "", b))
	first := start(t, feed, keep)
	first.routed(t, "app.example.com", 200)
	feed.set(routeTo("late.example.com", "", b))
	first.routed(t, "late.example.com", 200)
	first.stop()
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}

	feed.fail(true)
	second := start(t, feed, keep)
	second.routed(t, "app.example.com", 200)
	second.routed(t, "late.example.com", 200)
	if !second.Stale() {
		t.Error("the table is not called stale")
	}
	second.routed(t, "nowhere.example.com", 404)

	// A controller that begins to count anew, in the same term, is believed.
	feed.mu.Lock()
	feed.version, feed.source = 0, "b"
	feed.mu.Unlock()
	feed.set(routing.Route{Key: routing.Key{Host: "late.example.com"}})
	feed.fail(false)
	second.routed(t, "late.example.com", 404)
	eventually(t, "the table is no longer called stale", func() bool { return !second.Stale() })
}

func TestTableFileOfNoUse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "routes.json")
	if err := os.WriteFile(file, []byte(`{"snapshot":true,"routes":[{`), 0o600); err != nil {
		t.Fatal(err)
	}
	feed := newControllers()
	feed.fail(true)
	r := start(t, feed, func(c *router.Config) { c.TableFile = file })
	r.routed(t, "app.example.com", 503) // not 404: it may well exist
	if got := r.get(t, "http://app.example.com/"); got.Header.Get("X-Cf-RouterError") != "no_routes" || got.Header.Get("Retry-After") == "" {
		t.Errorf("got %v", got.Header)
	}
	eventually(t, "file set aside", func() bool {
		_, err := os.Stat(file + ".bad")
		return err == nil
	})
	_, b := app(t, "one", says("one"))
	feed.set(routeTo("app.example.com", "", b))
	feed.fail(false)
	r.routed(t, "app.example.com", 200)
}

// TestNextControllerIsTried: a stream that ends, or says what is too old, is
// replaced.
func TestNextControllerIsTried(t *testing.T) {
	feed := newControllers()
	feed.term = 5
	_, b := app(t, "one", says("one"))
	feed.set(routeTo("app.example.com", "", b))
	r := start(t, feed, nil)
	r.routed(t, "app.example.com", 200)
	feed.fail(false)
	feed.set(routeTo("two.example.com", "", b))
	r.routed(t, "two.example.com", 200)

	feed.mu.Lock()
	feed.term, feed.source = 4, "deposed"
	delete(feed.routes, routing.Key{Host: "app.example.com"})
	feed.mu.Unlock()
	feed.fail(false)
	eventually(t, "an old table refused", func() bool { return metric(t, r.Router, "stackato_router_feed_refused_total") > 0 })
	r.routed(t, "app.example.com", 200)
	feed.mu.Lock()
	feed.term, feed.source = 6, "next"
	feed.mu.Unlock()
	r.routed(t, "app.example.com", 404)
}

// metric returns the value of a metric without labels.
func metric(t *testing.T, c prometheus.Collector, name string) float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestMetrics(t *testing.T) {
	feed := newControllers()
	r := start(t, feed, nil)
	_, b := app(t, "one", says("12345"))
	feed.set(routeTo("app.example.com", "", b, refusing(t, "two")))
	r.routed(t, "app.example.com", 200)
	for range 3 {
		r.get(t, "http://app.example.com/")
	}
	for name, want := range map[string]float64{
		"stackato_router_routes": 1, "stackato_router_backends": 2, "stackato_router_stale": 0, "stackato_router_feed_term": 1,
		"stackato_router_feed_version": 1, "stackato_router_retries_total": 1, "stackato_router_backend_failures_total": 1,
	} {
		if got := metric(t, r.Router, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if got := metric(t, r.Router, "stackato_router_response_bytes_total"); got < 20 {
		t.Errorf("%v bytes", got)
	}
}

// TestStaleTableIsConfirmed: while no controller feeds the router a connection is
// made only to what a node calls the same instance.
func TestStaleTableIsConfirmed(t *testing.T) {
	var mu sync.Mutex
	asked, lost := map[string]int{}, false
	wrong := errors.New("this port belongs to another instance")
	feed := newControllers()
	r := start(t, feed, func(c *router.Config) {
		c.Confirm = func(_ context.Context, node, address, allocID string) error {
			mu.Lock()
			defer mu.Unlock()
			asked[node+" "+allocID+" "+address]++
			if allocID == "reused" || lost {
				return wrong
			}
			return nil
		}
		c.Limits.BackendIdle = time.Nanosecond // each request makes a connection
	})
	var leaked atomic.Bool
	_, same := app(t, "same", says("same"))
	_, reused := app(t, "reused", func(http.ResponseWriter, *http.Request) { leaked.Store(true) })
	eventually(t, "a feed", func() bool { return !r.Stale() })
	feed.set(routeTo("app.example.com", "", same))
	r.routed(t, "app.example.com", 200)
	if len(asked) != 0 {
		t.Errorf("asked %v though a controller feeds the router", asked)
	}
	feed.set(routeTo("app.example.com", "", same, reused))
	feed.set(routeTo("alone.example.com", "", reused))
	eventually(t, "routes", func() bool { return r.Position().Version == 3 })
	feed.fail(true)
	eventually(t, "stale", r.Stale)
	for range 10 {
		if got := r.get(t, "http://app.example.com/"); got.text != "same" {
			t.Errorf("got %d %q", got.StatusCode, got.text)
		}
	}
	if got := r.get(t, "http://alone.example.com/"); got.StatusCode != http.StatusBadGateway {
		t.Errorf("got %d", got.StatusCode)
	}
	if leaked.Load() {
		t.Error("a request reached another tenant's app")
	}
	mu.Lock()
	if asked["node-1 same "+same.Address] != 10 || asked["node-1 reused "+reused.Address] == 0 {
		t.Errorf("asked %v, want once for each connection to the good one", asked)
	}
	lost = true
	mu.Unlock()
	if got := r.get(t, "http://app.example.com/"); got.StatusCode != http.StatusBadGateway {
		t.Errorf("got %d %q of a port that has just become another's", got.StatusCode, got.text)
	}
}

func TestDrain(t *testing.T) {
	feed := newControllers()
	health := loopback(t)
	r := start(t, feed, func(c *router.Config) { c.HealthListener = health })
	entered, leave := make(chan struct{}), make(chan struct{})
	_, b := app(t, "one", func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/ws":
			websocketEcho(w, req)
		case "/slow":
			close(entered)
			<-leave
		}
	})
	feed.set(routeTo("app.example.com", "", b))
	r.routed(t, "app.example.com", 200)
	eventually(t, "healthy", func() bool { return healthOf(health) == 200 })
	ws, in := upgradeAt(t, r, "app.example.com")
	echoed(t, ws, in, "hello")
	slow := make(chan int)
	go func() { slow <- r.get(t, "http://app.example.com/slow").StatusCode }()
	<-entered
	stopped := make(chan struct{})
	go func() { r.stop(); close(stopped) }()
	eventually(t, "no new connections", func() bool {
		c, err := net.Dial("tcp", r.http)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	echoed(t, ws, in, "still here")
	close(leave)
	if got := <-slow; got != 200 {
		t.Errorf("the request in flight got %d", got)
	}
	ws.Close()
	<-stopped
}

// TestDrainSaysSoFirst: load balancers may see that the router ends before it
// refuses a connection.
func TestDrainSaysSoFirst(t *testing.T) {
	feed := newControllers()
	health := loopback(t)
	asked, release := make(chan struct{}), make(chan struct{})
	r := start(t, feed, func(c *router.Config) {
		c.HealthListener = health
		c.DrainWait = func() time.Duration {
			close(asked)
			<-release
			return time.Nanosecond
		}
	})
	_, b := app(t, "one", func(http.ResponseWriter, *http.Request) {})
	feed.set(routeTo("app.example.com", "", b))
	r.routed(t, "app.example.com", 200)
	stopped := make(chan struct{})
	go func() { r.stop(); close(stopped) }()
	<-asked
	if got := healthOf(health); got != 503 {
		t.Errorf("a router that ends soon says %d", got)
	}
	for range 3 { // on connections of their own
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		req, _ := http.NewRequest(http.MethodGet, "http://"+r.http+"/", nil)
		req.Host = "app.example.com"
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("a router that ends soon answers %d", resp.StatusCode)
		}
	}
	close(release)
	<-stopped
}

// TestDrainWaitsForWebSockets when nothing else is in flight: net/http does not
// count them.
func TestDrainWaitsForWebSockets(t *testing.T) {
	feed := newControllers()
	r := start(t, feed, nil)
	_, b := app(t, "one", websocketEcho)
	feed.set(routeTo("app.example.com", "", b))
	r.routed(t, "app.example.com", 200)
	ws, in := upgradeAt(t, r, "app.example.com")
	stopped := make(chan struct{})
	go func() { r.stop(); close(stopped) }()
	eventually(t, "no new connections", func() bool {
		c, err := net.Dial("tcp", r.http)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	for range 200 {
		echoed(t, ws, in, "still here")
		time.Sleep(100 * time.Microsecond) // what would cut it has its chance
	}
	ws.Close()
	<-stopped
}

func TestDrainIsBounded(t *testing.T) {
	feed := newControllers()
	r := start(t, feed, func(c *router.Config) { c.DrainTimeout = 50 * time.Millisecond })
	_, b := app(t, "one", websocketEcho)
	feed.set(routeTo("app.example.com", "", b))
	r.routed(t, "app.example.com", 200)
	ws, in := upgradeAt(t, r, "app.example.com")
	echoed(t, ws, in, "hello")
	r.stop()
	if _, err := in.ReadByte(); err == nil {
		t.Error("the connection is still open")
	}
}

func TestHealthBeforeTheFirstTable(t *testing.T) {
	feed := newControllers()
	feed.fail(true)
	health := loopback(t)
	start(t, feed, func(c *router.Config) { c.HealthListener = health })
	eventually(t, "503", func() bool { return healthOf(health) == 503 })
	feed.fail(false)
	eventually(t, "200", func() bool { return healthOf(health) == 200 })
}

// TestHealthWhileItStops: load balancers learn that a router goes while it still
// answers what is in flight.
func TestHealthWhileItStops(t *testing.T) {
	feed := newControllers()
	w := startWorking(t, "one")
	feed.set(routeTo("app.example.com", "", w.Backend))
	health := loopback(t)
	r := start(t, feed, func(c *router.Config) { c.HealthListener = health })
	r.routed(t, "app.example.com", 200)
	if got := healthOf(health); got != 200 {
		t.Errorf("a router that serves says %d", got)
	}
	last := r.asked(t, "GET", "http://app.example.com/work", nil)
	<-w.entered
	stopped := make(chan struct{})
	go func() { r.stop(); close(stopped) }()
	eventually(t, "503", func() bool { return healthOf(health) == 503 })
	w.answer <- struct{}{}
	if got := <-last; got.StatusCode != http.StatusOK {
		t.Errorf("the last request: %d", got.StatusCode)
	}
	<-stopped
}

// healthOf returns the status that /health answers, 0 for none.
func healthOf(l net.Listener) int {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + l.Addr().String() + "/health")
	if err != nil {
		return 0
	}
	res.Body.Close()
	return res.StatusCode
}

func TestPortInUse(t *testing.T) {
	taken := loopback(t)
	defer taken.Close()
	r, err := router.New(router.Config{Feed: newControllers(), HTTP: taken.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "another program") {
		t.Errorf("got %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	if _, err := router.New(router.Config{}); err == nil {
		t.Error("no feed, no error")
	}
	if _, err := router.New(router.Config{Feed: newControllers(), HTTPS: ":0"}); err == nil {
		t.Error("HTTPS without certificates, no error")
	}
}
