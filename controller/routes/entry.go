package routes

import (
	"slices"
	"strings"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/routing"
)

// entry is one route: where it leads, and what is sent to routers.
type entry struct {
	places []place
	route  routing.Route
}

// place is a destination of a route.
type place struct {
	app, name, process, protocol string
}

// readState takes in what the state says of routes.
func (f *Feed) readState(v *state.View) {
	wanted := wantedEntries(v)
	f.mu.Lock()
	defer f.mu.Unlock()
	if v.Index() < f.index {
		return // somebody has shown us a newer one
	}
	f.index = v.Index()
	before := f.version
	for key, e := range f.entries {
		if wanted[key] == nil {
			f.unlink(key, e)
			delete(f.entries, key)
			f.changed(key)
		}
	}
	for key, want := range wanted {
		have := f.entries[key]
		if have != nil && have.sameTarget(want) {
			continue
		}
		if have != nil {
			f.unlink(key, have)
		}
		f.entries[key] = want
		for _, p := range want.places {
			f.link(key, p.app)
		}
		want.route.Backends = f.backends(want)
		f.changed(key)
	}
	if f.version != before {
		f.version = before + 1
	}
}

// changed notes a change; versions are made one of in the end.
func (f *Feed) changed(key routing.Key) {
	f.version++
	f.touch(key)
}

func wantedEntries(v *state.View) map[routing.Key]*entry {
	domains := map[string]string{}
	for _, d := range v.Domains() {
		domains[d.GUID] = d.Name
	}
	places := map[string][]place{}
	names := map[string]string{}
	for _, d := range v.Destinations() {
		name, ok := names[d.AppGUID]
		if !ok {
			a, _ := v.App(d.AppGUID)
			name = a.Name
			names[d.AppGUID] = name
		}
		places[d.RouteGUID] = append(places[d.RouteGUID], place{d.AppGUID, name, d.ProcessType, d.Protocol})
	}
	out := map[routing.Key]*entry{}
	for _, r := range v.Routes() {
		domain, ok := domains[r.DomainGUID]
		if !ok {
			continue
		}
		e := newEntry(r, domain, places[r.GUID])
		out[e.route.Key] = e
	}
	return out
}

func newEntry(r cf.Route, domain string, places []place) *entry {
	host := strings.ToLower(strings.TrimPrefix(r.Host+"."+domain, "."))
	slices.SortFunc(places, func(a, b place) int {
		return strings.Compare(a.app+" "+a.process+" "+a.protocol, b.app+" "+b.process+" "+b.protocol)
	})
	return &entry{places, routing.Route{
		Key: routing.Key{Host: host, Path: strings.TrimSuffix(r.Path, "/")}, GUID: r.GUID, LoadBalancing: r.LoadBalancing,
		Backends: []routing.Backend{},
	}}
}

// sameTarget reports whether both lead to the same places in the same way.
func (e *entry) sameTarget(o *entry) bool {
	return e.route.GUID == o.route.GUID && e.route.LoadBalancing == o.route.LoadBalancing && slices.Equal(e.places, o.places)
}

// rebuild looks at the instances of apps again.
func (f *Feed) rebuild(apps map[string]struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.version
	for app := range apps {
		for key := range f.byApp[app] {
			e := f.entries[key]
			next := f.backends(e)
			if slices.Equal(next, e.route.Backends) {
				continue
			}
			e.route.Backends = next // never changed in place: it may be on its way to a router
			f.changed(key)
		}
	}
	if f.version != before {
		f.version = before + 1
	}
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
				Index: s.Index, Node: s.Node, Protocol: p.protocol,
			})
		}
	}
	return out
}

func (f *Feed) link(key routing.Key, app string) {
	set := f.byApp[app]
	if set == nil {
		set = map[routing.Key]struct{}{}
		f.byApp[app] = set
	}
	set[key] = struct{}{}
}

func (f *Feed) unlink(key routing.Key, e *entry) {
	for _, p := range e.places {
		delete(f.byApp[p.app], key)
		if len(f.byApp[p.app]) == 0 {
			delete(f.byApp, p.app)
		}
	}
}
