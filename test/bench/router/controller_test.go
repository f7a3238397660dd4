package router

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/instances"
	"github.com/stackato/stackato/controller/routes"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/routing"
)

// streamMethod is the agents' own call for routes: the same frames over the same
// mutual TLS.
var streamMethod = rpc.StreamMethod[rpc.Empty, routing.Update]{Name: "cloud.routes", Callers: rpc.Member, MaxItem: 256 << 20}

// seeded is a controller's state with an app that has all the routes, and the
// one node that says where its instance is.
type seeded struct {
	*state.Store
	app string
	n   int
}

// serveController is what a controller does for routers: it follows state and
// instances and streams the routes to a router. An order is the host of a
// route to add.
func serveController() {
	arguments := strings.Fields(os.Getenv("STACKATO_BENCH_ARGUMENT")) // file, app, routes
	count, _ := strconv.Atoi(arguments[2])
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := &seeded{Store: state.NewMemory(), app: arguments[1]}
	s.seed(ctx, count)
	logger := slog.New(slog.DiscardHandler)
	table := instances.New(instances.Config{Nodes: s, LearnWithin: time.Minute, Logger: logger})
	never := make(chan struct{})
	feed := routes.New(routes.Config{
		State: s.Store, Instances: table, Source: "bench", Logger: logger, Term: func() uint64 { return 1 },
		System: func() (routing.System, <-chan struct{}) { return routing.System{Domain: "system.bench.example"}, never },
	})
	go func() { check(table.Run(ctx)) }()
	go func() { check(feed.Run(ctx)) }()
	self := readMember(arguments[0], "controller")
	l := listen()
	server, err := rpc.NewServer(rpc.Config{Listener: l, Credentials: self, Members: self, Logger: logger})
	check(err)
	rpc.HandleStream(server, streamMethod, func(ctx context.Context, _ rpc.Caller, _ *rpc.Empty, send func(*routing.Update) error) error {
		return feed.Serve(ctx, send)
	})
	go func() { check(server.Run(ctx)) }()
	fmt.Println(l.Addr())
	untilOrdered(func(host string) {
		batch := &state.Batch{}
		s.queue(batch, strings.TrimSuffix(host, "."+domain))
		check(s.Apply(ctx, batch))
	})
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

const domain = "bench.example"

func (s *seeded) resource(guid string) cf.Resource {
	s.n++
	at := time.Date(2026, 1, 1, 0, 0, s.n, 0, time.UTC)
	return cf.Resource{GUID: guid, CreatedAt: at, UpdatedAt: at}
}

func (s *seeded) seed(ctx context.Context, count int) {
	check(s.CreateOrganization(ctx, cf.Organization{Resource: s.resource("org"), Name: "org"}))
	check(s.CreateSpace(ctx, cf.Space{Resource: s.resource("space"), Name: "space", OrgGUID: "org"}))
	check(s.CreateDomain(ctx, cf.Domain{Resource: s.resource("domain"), Name: domain}))
	check(s.CreateApp(ctx, state.AppCreation{
		App: cf.App{Resource: s.resource("app"), Name: "app", SpaceGUID: "space", State: cf.AppStopped},
		Web: cf.Process{Resource: s.resource("app-web"), AppGUID: "app", Type: cf.ProcessWeb, Instances: 1},
	}))
	for n := 0; n < count; {
		batch := &state.Batch{}
		for end := min(n+400, count); n < end; n++ {
			s.queue(batch, strings.TrimSuffix(hostOf(n), "."+domain))
		}
		check(s.Apply(ctx, batch))
	}
}

// queue adds a route and maps it to the app.
func (s *seeded) queue(b *state.Batch, host string) {
	route := s.resource(uuid.NewString()) // the feed looks only at GUIDs that begin as changed ones do
	b.CreateRoute(cf.Route{Resource: route, Host: host, DomainGUID: "domain", SpaceGUID: "space"})
	b.MapRoute(state.RouteMapping{RouteGUID: route.GUID, At: route.CreatedAt, Destinations: []cf.Destination{{
		Resource: s.resource(uuid.NewString()), RouteGUID: route.GUID, AppGUID: "app", ProcessType: cf.ProcessWeb, Protocol: cf.ProtocolHTTP1, Port: 8080,
	}}})
}

// DEAs implements instances.Nodes; so do the next two.
func (*seeded) DEAs() ([]string, <-chan struct{}) { return []string{"node"}, nil }

// States says that the one instance is ready.
func (s *seeded) States(ctx context.Context, _ string, report func(instance.Report)) error {
	report(instance.Report{Snapshot: true, Instances: []instance.Status{{
		AllocID: "alloc", Node: "node", AppGUID: "app", ProcessGUID: "app-web", ProcessType: cf.ProcessWeb,
		State: instance.Running, Ready: true, Address: s.app,
	}}})
	<-ctx.Done()
	return ctx.Err()
}

// Measure has nothing to say.
func (*seeded) Measure(context.Context, string, string) ([]instance.Status, error) { return nil, nil }

// benchFeed follows a controller as the agent does.
type benchFeed struct {
	client *rpc.Client
	target rpc.Target
}

// Subscribe implements watch.Feed.
func (f *benchFeed) Subscribe(ctx context.Context, _ routing.Position, apply func(*routing.Update) error) error {
	s, err := rpc.OpenStream(ctx, f.client, f.target, streamMethod, &rpc.Empty{})
	if err != nil {
		return err
	}
	defer s.Close()
	for {
		u, err := s.Next()
		if err == nil {
			err = apply(u)
		}
		if err != nil {
			return err
		}
	}
}
