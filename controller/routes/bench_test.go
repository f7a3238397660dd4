package routes

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/routing"
)

// BenchmarkAddedRoute is the time from a route that is added and mapped, in a
// cluster that has 100,000 of 2,000 apps, until it is given to a router. It
// shall be below 50 ms.
func BenchmarkAddedRoute(b *testing.B) {
	const routes, apps = 100_000, 2_000
	w := newWorld(b, b.Cleanup)
	for i := range apps {
		w.app(fmt.Sprintf("app-%06d", i))
	}
	w.fill(routes, apps)
	w.snapshot()
	updates := make(chan *routing.Update)
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.feed.Serve(ctx, func(u *routing.Update) error {
			select {
			case updates <- u:
			case <-ctx.Done():
			}
			return nil
		})
	}()
	defer func() { cancel(); <-done }()
	if u := <-updates; len(u.Routes) != routes {
		b.Fatalf("%d routes in the snapshot", len(u.Routes))
	}
	for b.Loop() {
		guid := uuid.NewString()
		batch := &state.Batch{}
		w.queue(batch, guid, "a")
		w.must(w.Apply(w.ctx, batch))
		if u := <-updates; len(u.Routes) != 1 || u.Routes[0].GUID != guid {
			b.Fatalf("got %d routes", len(u.Routes))
		}
	}
}

// BenchmarkFirstRead is what a controller does once when it starts.
func BenchmarkFirstRead(b *testing.B) {
	const routes = 100_000
	w := newWorld(b, b.Cleanup)
	w.stop()
	w.app("app-000000")
	w.fill(routes, 1)
	for b.Loop() {
		w.newFeed().readState(w.Local())
	}
}

// fill adds routes that lead to apps in turn.
func (w *world) fill(routes, apps int) {
	for i := 0; i < routes; {
		batch := &state.Batch{}
		for end := min(i+400, routes); i < end; i++ {
			w.queue(batch, uuid.NewString(), fmt.Sprintf("app-%06d", i%apps))
		}
		w.must(w.Apply(w.ctx, batch))
	}
}

func (w *world) queue(b *state.Batch, guid, app string) {
	b.CreateRoute(cf.Route{Resource: w.res(guid), Host: guid, DomainGUID: "d", SpaceGUID: "space"})
	d := w.dest(guid, app, "web", "http1")
	d.GUID = uuid.NewString()
	b.MapRoute(state.RouteMapping{RouteGUID: guid, Destinations: []cf.Destination{d}, At: w.at()})
}
