package routes

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/routing"
)

// After any changes a router that has followed them has the table of one that
// comes anew, and of one that asks another controller.
func TestFollowingIsAsGoodAsComingAnew(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var cleanups []func()
		defer func() {
			for _, c := range slices.Backward(cleanups) {
				c()
			}
		}()
		cleanup := func(c func()) { cleanups = append(cleanups, c) }
		w := newWorld(rt, cleanup)
		w.snapshot()
		r := w.subscribe(cleanup)
		for range rapid.IntRange(1, 40).Draw(rt, "changes") {
			w.change(rt)
		}
		w.tell() // received when the one before has been taken in
		anew := w.subscribe(cleanup)
		anew.until("a snapshot", func() bool { return anew.table() != nil })
		want := w.newcomer()
		if diff := cmp.Diff(want, anew.routes); diff != "" {
			rt.Fatalf("a subscriber that comes anew differs from a new feed (-want +got):\n%s", diff)
		}
		r.until("like anew", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return cmp.Equal(want, r.routes) })
		if got, all := anew.table(), w.expected(); !slices.Equal(got, all) {
			rt.Fatalf("the feed has %q, the state %q", got, all)
		}
		w.feed.mu.Lock()
		defer w.feed.mu.Unlock()
		for app, set := range w.feed.byApp {
			for e := range set {
				if w.feed.routes[e.route.GUID] != e {
					rt.Fatalf("app %s is linked to what is no route: %+v", app, e)
				}
			}
		}
	})
}

// change makes one change; that it is refused does not matter.
func (w *world) change(t *rapid.T) {
	pick := func(of ...string) string { return rapid.SampledFrom(of).Draw(t, "pick") }
	route, app := pick("1", "2", "3", "4"), pick("a", "b")
	switch pick("route", "route", "map", "map", "map", "unmap", "protocol", "delete", "app", "rename", "domain", "instance", "instance", "instance", "snapshot") {
	case "route":
		_ = w.CreateRoute(w.ctx, cf.Route{
			Resource: w.res(route), Host: pick("x", "*"), Path: pick("", "/p", "/P"), DomainGUID: pick("d", "e"), SpaceGUID: "space",
		})
	case "map":
		_ = w.MapRoute(w.ctx, state.RouteMapping{
			RouteGUID: route, Replace: rapid.Bool().Draw(t, "replace"), At: w.at(),
			Destinations: []cf.Destination{w.dest(route, app, pick("web", "worker"), pick("http1", "http2"))},
		})
	case "unmap":
		_ = w.UnmapRoute(w.ctx, state.DestinationTarget{RouteGUID: route, GUID: w.dest(route, app, "web", "http1").GUID, At: w.at()})
	case "protocol":
		_, _ = w.UpdateDestination(w.ctx, state.DestinationTarget{
			RouteGUID: route, GUID: w.dest(route, app, "web", "http1").GUID, Protocol: pick("http1", "http2"), At: w.at(),
		})
	case "delete":
		_ = w.DeleteRoute(w.ctx, w.target(route))
	case "app":
		if w.DeleteApp(w.ctx, w.target(app)) == nil {
			w.app(app)
		}
	case "rename":
		name := "app-" + app + pick("", "2")
		_, _ = w.UpdateApp(w.ctx, state.AppUpdate{GUID: app, Name: &name, At: w.at()})
	case "domain": // again under another name
		if name := pick("e.com", "f.com"); w.DeleteDomain(w.ctx, w.target("e")) != nil || pick("yes", "no") == "yes" {
			w.domain("e", name)
		}
	case "instance":
		s := ready(app, pick("web", "worker"), rapid.IntRange(0, 2).Draw(t, "index"))
		if state := pick("ready", "STOPPING", "GONE"); state != "ready" {
			s = as(s, instance.State(state))
		}
		w.tell(s)
	case "snapshot":
		w.snapshot(ready(app, "web", 0))
	}
}

// newcomer is what a controller sends that has just started.
func (w *world) newcomer() map[routing.Key]routing.Route {
	f := w.newFeed()
	f.readState(w.Local())
	out := map[routing.Key]routing.Route{}
	for _, r := range f.snapshot(&subscriber{}).Routes {
		out[r.Key] = r
	}
	return out
}

// expected is the table as a simple reader of everything makes it.
func (w *world) expected() []string {
	v, lines := w.Local(), map[string]string{}
	list := v.Routes()
	slices.SortFunc(list, func(a, b cf.Route) int { return b.CreatedAt.Compare(a.CreatedAt) }) // the oldest is last
	for _, r := range list {
		d, _ := v.Domain(r.DomainGUID)
		address := r.Host + "." + d.Name + strings.ToLower(r.Path)
		line := address + " " + r.GUID + ":"
		for _, place := range []string{"a/web/http1", "a/web/http2", "a/worker/http1", "a/worker/http2", "b/web/http1", "b/web/http2", "b/worker/http1", "b/worker/http2"} {
			to := strings.Split(place, "/")
			if !slices.ContainsFunc(v.DestinationsOfRoute(r.GUID), func(d cf.Destination) bool {
				return d.AppGUID == to[0] && d.ProcessType == to[1] && d.Protocol == to[2]
			}) {
				continue
			}
			for _, s := range w.table.OfApp(to[0]) {
				if s.Ready && s.ProcessType == to[1] {
					line += " " + s.AllocID + strings.TrimPrefix(strings.Replace(to[2], "http2", "+h2", 1), "http1")
				}
			}
		}
		lines[address] = line
	}
	return slices.Sorted(maps.Values(lines))
}
