package routes

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/instances"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/routing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fatal is a part of testing.TB that rapid.T has too.
type fatal interface {
	Helper()
	Fatalf(format string, args ...any)
}

// world is a feed with a store and a node that says what the test makes it
// say.
type world struct {
	fatal
	*state.Store
	ctx   context.Context
	feed  *Feed
	table *instances.Table
	say   chan instance.Report
	stop  func() // the feed

	mu      sync.Mutex
	system  routing.System
	changed chan struct{}
	n       int
}

// newWorld makes a world with a space, a domain and the apps a and b. Its
// node has not spoken yet.
func newWorld(t fatal, cleanup func(func())) *world {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &world{
		fatal: t, Store: state.NewMemory(), ctx: ctx, say: make(chan instance.Report),
		system: routing.System{Domain: "d", Hosts: []string{"api.d"}}, changed: make(chan struct{}),
	}
	w.must(w.CreateOrganization(ctx, cf.Organization{Resource: w.res("org"), Name: "org"}))
	w.must(w.CreateSpace(ctx, cf.Space{Resource: w.res("space"), Name: "space", OrgGUID: "org"}))
	w.domain("d", "example.com")
	w.app("a")
	w.app("b")
	w.table = instances.New(instances.Config{Nodes: w, LearnWithin: time.Hour, Logger: slog.New(slog.DiscardHandler)})
	w.feed = w.newFeed()
	var group sync.WaitGroup
	group.Go(func() { _ = w.table.Run(ctx) })
	run, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	group.Go(func() { ended <- w.feed.Run(run) })
	w.stop = sync.OnceFunc(func() {
		stop()
		if err := <-ended; err != nil {
			t.Fatalf("Run: %v", err)
		}
	})
	cleanup(func() { w.stop(); cancel(); group.Wait() })
	return w
}

func (w *world) newFeed() *Feed {
	return New(Config{
		State: w.Store, Instances: w.table, Term: func() uint64 { return 7 }, Source: "me",
		System: func() (routing.System, <-chan struct{}) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.system, w.changed
		},
	})
}

func (w *world) setSystem(s routing.System) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.system = s
	close(w.changed)
	w.changed = make(chan struct{})
}

// DEAs implements instances.Nodes; so do the next two.
func (*world) DEAs() ([]string, <-chan struct{}) { return []string{"node"}, nil }

func (w *world) States(ctx context.Context, _ string, report func(instance.Report)) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r := <-w.say:
			report(r)
		}
	}
}

func (*world) Measure(context.Context, string, string) ([]instance.Status, error) { return nil, nil }

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatalf("%v", err)
	}
}

func (w *world) at() time.Time {
	w.n++
	return time.Date(2026, 1, 1, 0, 0, w.n, 0, time.UTC)
}

func (w *world) res(guid string) cf.Resource {
	at := w.at()
	return cf.Resource{GUID: guid, CreatedAt: at, UpdatedAt: at}
}

func (w *world) target(guid string) state.Target { return state.Target{GUID: guid, At: w.at()} }

func (w *world) domain(guid, name string) {
	w.Helper()
	w.must(w.CreateDomain(w.ctx, cf.Domain{Resource: w.res(guid), Name: name}))
}

func (w *world) app(guid string) {
	w.Helper()
	w.must(w.CreateApp(w.ctx, state.AppCreation{
		App: cf.App{Resource: w.res(guid), Name: "app-" + guid, SpaceGUID: "space", State: cf.AppStopped},
		Web: cf.Process{Resource: w.res(guid + "-web"), AppGUID: guid, Type: "web", Instances: 1},
	}))
}

func (w *world) route(guid, host, path string) {
	w.Helper()
	w.must(w.CreateRoute(w.ctx, cf.Route{Resource: w.res(guid), Host: host, Path: path, DomainGUID: "d", SpaceGUID: "space"}))
}

// dest names a destination "<route>-<app>-<process>-<protocol>".
func (w *world) dest(route, app, process, protocol string) cf.Destination {
	guid, port := strings.Join([]string{route, app, process, protocol}, "-"), 8080
	if protocol == cf.ProtocolHTTP2 {
		port++
	}
	return cf.Destination{Resource: w.res(guid), RouteGUID: route, AppGUID: app, ProcessType: process, Protocol: protocol, Port: port}
}

// link maps destinations "app/process/protocol" to a route, in place of all
// that it had.
func (w *world) link(route string, to ...string) {
	w.Helper()
	m := state.RouteMapping{RouteGUID: route, Replace: true, At: w.at()}
	for _, text := range to {
		p := strings.Split(text, "/")
		m.Destinations = append(m.Destinations, w.dest(route, p[0], p[1], p[2]))
	}
	w.must(w.MapRoute(w.ctx, m))
}

// snapshot makes the node say that these instances run, and no others.
func (w *world) snapshot(list ...instance.Status) {
	w.say <- instance.Report{Snapshot: true, Instances: list}
}

func (w *world) tell(list ...instance.Status) { w.say <- instance.Report{Instances: list} }

// ready is a ready instance of an app's process.
func ready(app, process string, index int) instance.Status {
	id := fmt.Sprintf("%s-%s-%d", app, process, index)
	return instance.Status{
		AllocID: id, AppGUID: app, ProcessGUID: app + "-" + process, ProcessType: process, Index: index,
		State: instance.Running, Ready: true, Address: id + ":1",
	}
}

func as(s instance.Status, state instance.State) instance.Status {
	s.State, s.Ready = state, false
	return s
}

// router applies updates as a router does and checks that they follow on each
// other.
type router struct {
	fatal
	mu      sync.Mutex
	at      routing.Position
	fed     int
	routes  map[routing.Key]routing.Route
	system  routing.System
	updates []*routing.Update
	end     func() error // stops and returns Serve's error
	news    chan struct{}
}

func (w *world) subscribe(cleanup func(func())) *router {
	ctx, cancel := context.WithCancel(w.ctx)
	r := &router{fatal: w.fatal, news: make(chan struct{}, 1)}
	ended := make(chan error, 1)
	go func() { ended <- w.feed.Serve(ctx, r.apply) }()
	r.end = sync.OnceValue(func() error { cancel(); return <-ended })
	cleanup(func() { _ = r.end() })
	return r
}

func (r *router) apply(u *routing.Update) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.fed == 0
	switch r.fed++; {
	case u.Snapshot != first:
		return fmt.Errorf("update %d: snapshot is %t", r.fed, u.Snapshot)
	case u.Source != "me" || u.Term != 7:
		return fmt.Errorf("update %d is of %q, term %d", r.fed, u.Source, u.Term)
	case !first && u.Version <= r.at.Version:
		return fmt.Errorf("version %d after %d", u.Version, r.at.Version)
	case !first && len(u.Routes)+len(u.Removed) == 0 && u.System == nil:
		return fmt.Errorf("update %d says nothing", r.fed)
	}
	r.at = u.Position()
	r.updates = append(r.updates, u)
	if u.Snapshot {
		r.routes = map[routing.Key]routing.Route{}
	}
	for _, k := range u.Removed {
		delete(r.routes, fold(k))
	}
	for _, route := range u.Routes {
		r.routes[fold(route.Key)] = route
	}
	if u.System != nil {
		r.system = *u.System
	}
	select {
	case r.news <- struct{}{}:
	default:
	}
	return nil
}

func fold(k routing.Key) routing.Key {
	return routing.Key{Host: k.Host, Path: strings.ToLower(k.Path)}
}

// table lists the routes as "host/path guid: alloc+protocol …".
func (r *router) table() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fed == 0 {
		return nil
	}
	out := []string{}
	for _, route := range r.routes {
		line := route.Host + route.Path + " " + route.GUID + ":"
		for _, b := range route.Backends {
			line += " " + b.AllocID
			if b.Protocol == cf.ProtocolHTTP2 {
				line += "+h2"
			}
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

// await waits until the table has these lines.
func (r *router) await(want ...string) {
	r.Helper()
	r.until(fmt.Sprint(want), func() bool { got := r.table(); return got != nil && slices.Equal(got, want) })
}

// until waits until ok, which is asked after each update.
func (r *router) until(what string, ok func() bool) {
	r.Helper()
	late := time.After(time.Minute)
	for !ok() {
		select {
		case <-r.news:
		case <-late:
			r.Fatalf("the router has %q, never %s; Serve: %v", r.table(), what, r.end())
		}
	}
}

// serve is a world whose node has spoken, and a router.
func serve(t *testing.T, running ...instance.Status) (*world, *router) {
	w := newWorld(t, t.Cleanup)
	w.snapshot(running...)
	return w, w.subscribe(t.Cleanup)
}
