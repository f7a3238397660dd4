package routes

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/routing"
)

// entry is one route: where it leads, and what is sent to routers.
type entry struct {
	created time.Time
	places  []place
	route   routing.Route
}

// place is a destination of a route.
type place struct {
	app, name, process, protocol string
}

// lookUp makes the entry of a route, without backends; nil if there is none.
func lookUp(v *state.View, guid string) *entry {
	r, ok := v.Route(guid)
	if !ok {
		return nil
	}
	d, ok := v.Domain(r.DomainGUID)
	if !ok {
		return nil
	}
	e := &entry{created: r.CreatedAt, route: routing.Route{
		Key: keyOf(r, d), GUID: guid, LoadBalancing: r.LoadBalancing, Backends: []routing.Backend{},
	}}
	for _, d := range v.DestinationsOfRoute(guid) {
		if a, ok := v.App(d.AppGUID); ok {
			e.places = append(e.places, place{d.AppGUID, a.Name, d.ProcessType, d.Protocol})
		}
	}
	slices.SortFunc(e.places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.app, b.app), cmp.Compare(a.process, b.process), cmp.Compare(a.protocol, b.protocol))
	})
	e.places = slices.Compact(e.places) // two ports of a process are one: it has one address
	return e
}

// keyOf is where routers look for a route. They compare paths without regard
// to case, as Cloud Foundry's do.
func keyOf(r cf.Route, d cf.Domain) routing.Key {
	return routing.Key{
		Host: strings.ToLower(strings.TrimPrefix(r.Host+"."+d.Name, ".")),
		Path: strings.ToLower(strings.TrimRight(r.Path, "/")),
	}
}

// same reports whether both are at one address and lead to the same places in
// the same way.
func (e *entry) same(o *entry) bool {
	return e.route.Key == o.route.Key && e.route.LoadBalancing == o.route.LoadBalancing && slices.Equal(e.places, o.places)
}

// older orders routes that claim one address: the oldest has it.
func older(a, b *entry) int {
	return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.route.GUID, b.route.GUID))
}

// refresh looks at a route again; mu is held.
func (f *Feed) refresh(v *state.View, guid string) {
	have, want := f.routes[guid], lookUp(v, guid)
	if have != nil && want != nil && have.same(want) {
		return
	}
	if have != nil {
		f.remove(have)
	}
	if want != nil {
		want.route.Backends = f.backends(want)
		f.add(want)
	}
}

func (f *Feed) add(e *entry) {
	key := e.route.Key
	f.routes[e.route.GUID] = e
	claims := append(f.claims[key], e)
	slices.SortFunc(claims, older)
	f.claims[key] = claims
	for _, p := range e.places {
		set := f.byApp[p.app]
		if set == nil {
			set = map[*entry]struct{}{}
			f.byApp[p.app] = set
		}
		set[e] = struct{}{}
	}
	f.changed(key)
}

func (f *Feed) remove(e *entry) {
	key := e.route.Key
	delete(f.routes, e.route.GUID)
	claims := slices.DeleteFunc(f.claims[key], func(o *entry) bool { return o == e })
	if f.claims[key] = claims; len(claims) == 0 {
		delete(f.claims, key)
	}
	for _, p := range e.places {
		delete(f.byApp[p.app], e)
		if len(f.byApp[p.app]) == 0 {
			delete(f.byApp, p.app)
		}
	}
	f.changed(key)
}

// readInstances looks at the apps again whose instances have changed.
func (f *Feed) readInstances() {
	f.mu.Lock()
	defer f.mu.Unlock()
	// Taken under mu: whoever has waited for it knows that nothing which was
	// told before is still on its way.
	for app := range f.instances.Take() {
		for e := range f.byApp[app] {
			next := f.backends(e)
			if slices.Equal(next, e.route.Backends) {
				continue
			}
			e.route.Backends = next // never changed in place: it may be on its way to a router
			f.changed(e.route.Key)
		}
	}
	f.publish()
}

// backends lists the ready instances behind a route.
func (f *Feed) backends(e *entry) []routing.Backend {
	out := []routing.Backend{}
	for _, p := range e.places {
		for _, s := range f.cfg.Instances.OfApp(p.app) {
			if !s.Ready || s.State != instance.Running || s.ProcessType != p.process || s.Address == "" {
				continue
			}
			out = append(out, routing.Backend{
				Address: s.Address, AllocID: s.AllocID, AppGUID: p.app, AppName: p.name, Process: p.process,
				Index: s.Index, Node: s.Node, Protocol: p.protocol, Started: s.StartedAt(),
			})
		}
	}
	return out
}
