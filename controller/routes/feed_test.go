package routes

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/hashicorp/go-memdb"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/routing"
	"github.com/stackato/stackato/wire/rpcerr"
)

func TestRoutes(t *testing.T) {
	w, r := serve(t, ready("a", "web", 0))
	r.await()
	w.route("1", "One", "")
	r.await("one.example.com 1:")
	w.link("1", "a/web/http1")
	r.await("one.example.com 1: a-web-0")
	w.route("2", "*", "/P")
	w.link("2", "a/web/http1")
	r.await("*.example.com/p 2: a-web-0", "one.example.com 1: a-web-0")
	w.link("2", "b/web/http1") // remapped; route 1 must still lead to a
	w.tell(ready("a", "web", 1))
	r.await("*.example.com/p 2:", "one.example.com 1: a-web-0 a-web-1")
	w.must(w.DeleteRoute(w.ctx, w.target("1")))
	r.await("*.example.com/p 2:")
	w.must(w.DeleteDomain(w.ctx, w.target("d")))
	r.await()
}

func TestInstances(t *testing.T) {
	w, r := serve(t, as(ready("a", "web", 0), instance.Starting))
	w.route("1", "one", "")
	w.link("1", "a/web/http1")
	r.await("one.example.com 1:")
	w.tell(ready("a", "web", 0), ready("a", "worker", 0), ready("b", "web", 0))
	r.await("one.example.com 1: a-web-0")
	two, three := ready("a", "web", 2), ready("a", "web", 3)
	two.Address = "" // publishes no port
	w.tell(ready("a", "web", 1), two, three)
	r.await("one.example.com 1: a-web-0 a-web-1 a-web-3")
	w.tell(as(ready("a", "web", 0), instance.Stopping), as(three, instance.Gone))
	r.await("one.example.com 1: a-web-1")
	moved := ready("a", "web", 1)
	moved.Address = "elsewhere:2"
	w.tell(moved)
	r.until("the new address", func() bool { return r.only(t).Backends[0].Address == "elsewhere:2" })
	want := routing.Backend{
		Address: "elsewhere:2", AllocID: "a-web-1", AppGUID: "a", AppName: "app-a", Process: "web", Index: 1, Node: "node", Protocol: "http1",
	}
	if got := r.only(t).Backends[0]; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	w.snapshot() // the node has lost all
	r.await("one.example.com 1:")
}

// only returns the only route.
func (r *router) only(t *testing.T) routing.Route {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.routes) != 1 {
		t.Fatalf("%d routes", len(r.routes))
	}
	for _, route := range r.routes {
		return route
	}
	return routing.Route{}
}

func TestDestinations(t *testing.T) {
	w, r := serve(t, ready("a", "web", 0), ready("a", "admin", 0), ready("b", "web", 0))
	w.route("1", "one", "")
	w.link("1", "a/web/http1", "a/admin/http2", "b/web/http1")
	r.await("one.example.com 1: a-admin-0+h2 a-web-0 b-web-0")
	w.link("1", "a/web/http1", "b/web/http1") // a leads there still, by another process
	r.await("one.example.com 1: a-web-0 b-web-0")
	w.tell(ready("a", "web", 1))
	r.await("one.example.com 1: a-web-0 a-web-1 b-web-0")
	_, err := w.UpdateDestination(w.ctx, state.DestinationTarget{RouteGUID: "1", GUID: "1-b-web-http1", Protocol: cf.ProtocolHTTP2, At: w.at()})
	w.must(err)
	r.await("one.example.com 1: a-web-0 a-web-1 b-web-0+h2")
	again := w.dest("1", "a", "web", "http1")
	again.GUID, again.Port = "again", 9999 // a second port of the process
	w.must(w.MapRoute(w.ctx, state.RouteMapping{RouteGUID: "1", Destinations: []cf.Destination{again}, At: w.at()}))
	w.must(w.UnmapRoute(w.ctx, state.DestinationTarget{RouteGUID: "1", GUID: "1-a-web-http1", At: w.at()}))
	w.tell(as(ready("a", "web", 0), instance.Crashed))
	r.await("one.example.com 1: a-web-1 b-web-0+h2")
	w.must(w.DeleteApp(w.ctx, w.target("b")))
	r.await("one.example.com 1: a-web-1")
	name, balancing := "new", "least-connection"
	_, err = w.UpdateApp(w.ctx, state.AppUpdate{GUID: "a", Name: &name, At: w.at()})
	w.must(err)
	_, err = w.UpdateRoute(w.ctx, state.RouteUpdate{GUID: "1", LoadBalancing: &balancing, At: w.at()})
	w.must(err)
	r.until("the names", func() bool {
		route := r.only(t)
		return route.LoadBalancing == balancing && route.Backends[0].AppName == name
	})
}

// Routers compare paths without regard to case, and so does the state: there
// is one route, whatever its spelling.
func TestPathsOfOneCase(t *testing.T) {
	w, r := serve(t, ready("a", "web", 0), ready("b", "web", 0))
	w.route("z", "one", "/path")
	w.link("z", "a/web/http1")
	before := w.Local()
	other := cf.Route{Resource: w.res("y"), Host: "one", Path: "/Path", DomainGUID: "d", SpaceGUID: "space"}
	if err := w.CreateRoute(w.ctx, other); err == nil {
		t.Error("a second route that routers cannot tell from the first was made")
	}
	r.await("one.example.com/path z: a-web-0")
	w.must(w.DeleteRoute(w.ctx, w.target("z")))
	w.must(w.CreateRoute(w.ctx, other))
	w.link("y", "b/web/http1")
	r.await("one.example.com/path y: b-web-0")
	w.feed.readState(before) // a late reader
	late := w.subscribe(t.Cleanup)
	late.await("one.example.com/path y: b-web-0")
	w.must(w.DeleteRoute(w.ctx, w.target("y")))
	r.await()
	late.await()
}

// What no router needs to know is not sent.
func TestSaysNothingNew(t *testing.T) {
	w, r := serve(t, ready("a", "web", 0))
	w.route("1", "one", "")
	w.link("1", "a/web/http1")
	r.await("one.example.com 1: a-web-0")
	r.mu.Lock()
	fed := r.fed
	r.mu.Unlock()
	label := "x"
	patch := cf.MetadataPatch{Labels: map[string]*string{"l": &label}}
	_, err := w.UpdateRoute(w.ctx, state.RouteUpdate{GUID: "1", Metadata: patch, At: w.at()})
	w.must(err)
	_, err = w.UpdateDomain(w.ctx, state.DomainUpdate{GUID: "d", Metadata: patch, At: w.at()})
	w.must(err)
	_, err = w.UpdateApp(w.ctx, state.AppUpdate{GUID: "a", Metadata: patch, At: w.at()})
	w.must(err)
	w.link("1", "a/web/http1")
	w.tell(ready("b", "web", 0), as(ready("a", "web", 5), instance.Crashed))
	w.feed.readState(w.Local())
	w.route("2", "two", "")
	r.await("one.example.com 1: a-web-0", "two.example.com 2:")
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fed != fed+1 || len(r.updates[fed].Routes) != 1 {
		t.Errorf("%d updates, want one of one route: %+v", r.fed-fed, r.updates[fed])
	}
}

func TestSystem(t *testing.T) {
	w, r := serve(t)
	r.until("system", func() bool { return r.targets() == "d[]" })
	w.setSystem(routing.System{Domain: "d", Hosts: []string{"api.d"}, Targets: []string{"x:1"}})
	r.until("target", func() bool { return r.targets() == "d[x:1]" })
	w.setSystem(routing.System{Domain: "d", Hosts: []string{"api.d"}, Targets: []string{"x:1"}}) // the same
	w.route("1", "one", "")
	r.await("one.example.com 1:")
	if u := r.updates[len(r.updates)-1]; u.System != nil {
		t.Error("sent a system that is the same")
	}
}

func (r *router) targets() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.system.Domain + fmt.Sprint(r.system.Targets)
}

// A snapshot has all that the nodes have told, and nothing is sent before.
func TestWaitsUntilLearned(t *testing.T) {
	w := newWorld(t, t.Cleanup)
	w.route("1", "one", "")
	w.link("1", "a/web/http1")
	r := w.subscribe(t.Cleanup)
	w.tell(ready("a", "web", 7)) // no snapshot yet
	if got := len(w.table.OfApp("a")); got > 1 || w.table.Learned() {
		t.Fatalf("%d instances, learned: %t", got, w.table.Learned())
	}
	r.mu.Lock()
	if r.fed != 0 {
		t.Error("sent before it has learned")
	}
	r.mu.Unlock()
	w.snapshot(ready("a", "web", 0))
	r.until("a snapshot", func() bool { return len(r.table()) == 1 })
	r.mu.Lock()
	defer r.mu.Unlock()
	if got := r.updates[0].Routes; len(got) != 1 || len(got[0].Backends) != 1 || got[0].Backends[0].Index != 0 {
		t.Errorf("the snapshot has %+v", got)
	}
	if r.updates[0].System == nil || r.updates[0].System.Domain != "d" {
		t.Error("the snapshot lacks the system hosts")
	}
}

// lost is a log without a Primary.
type lost struct{ state.Log }

var errLost = rpcerr.New(rpcerr.Unavailable, "no Primary")

func (lost) ReadIndex(context.Context) error { return errLost }

func (lost) Snapshot() (*memdb.Txn, uint64) { panic("looked at what may be the past") }

func TestWithoutPrimary(t *testing.T) {
	w := newWorld(t, t.Cleanup)
	w.snapshot()
	f := w.newFeed()
	f.cfg.State = state.New(lost{})
	f.instances = w.table.Subscribe()
	defer f.instances.Close()
	close(f.started)
	err := f.Serve(t.Context(), func(*routing.Update) error {
		t.Error("sent something")
		return nil
	})
	var e *cf.Error
	if !errors.As(err, &e) || e.Status != cf.ErrServiceUnavailable.Status {
		t.Errorf("error %v", err)
	}
}

// A controller that stops to be one sends its routers to another one.
func TestEnds(t *testing.T) {
	w, r := serve(t)
	r.until("system", func() bool { return r.targets() == "d[]" })
	ended := make(chan error, 1)
	go func() { ended <- w.feed.Serve(w.ctx, func(*routing.Update) error { return nil }) }()
	w.stop()
	if err := <-ended; rpcerr.Of(err) != rpcerr.Unavailable {
		t.Errorf("error %v", err)
	}
	failed := errors.New("gone")
	if err := w.newRunning(t).Serve(t.Context(), func(*routing.Update) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("error %v, want the sender's", err)
	}
}

func (w *world) newRunning(t *testing.T) *Feed {
	f := w.newFeed()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = f.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return f
}

// A router that is slow gets what it has missed in one update, and holds
// nobody else up.
func TestSlowRouter(t *testing.T) {
	w, quick := serve(t)
	quick.await()
	slow, pass, held := &router{fatal: t, news: make(chan struct{}, 1)}, make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(w.ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	slow.end = func() error { return nil }
	group.Go(func() {
		_ = w.feed.Serve(ctx, func(u *routing.Update) error {
			if u.Snapshot {
				close(held)
				<-pass
			}
			return slow.apply(u)
		})
	})
	<-held
	want := []string{}
	for i := range 20 {
		guid := fmt.Sprintf("r%02d", i)
		w.route(guid, guid, "")
		if i%2 == 0 {
			w.must(w.DeleteRoute(w.ctx, w.target(guid)))
			continue
		}
		want = append(want, guid+".example.com "+guid+":")
	}
	quick.await(want...)
	close(pass)
	slow.await(want...)
	slow.mu.Lock()
	defer slow.mu.Unlock()
	if slow.fed != 2 {
		t.Errorf("%d updates, want a snapshot and all changes in one", slow.fed)
	}
}
