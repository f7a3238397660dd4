package routes

import (
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

// tables are the rows that the feed has seen last. What has changed is found
// by looking only where the state is another one than it was: it costs the same
// with 100 routes and with 100,000.
type tables struct {
	routes       seen[cf.Route]
	destinations seen[cf.Destination]
	domains      seen[cf.Domain]
	apps         seen[cf.App]
}

// seen is what was seen last of a table, or of the part of it whose GUIDs begin
// with a prefix.
type seen[T any] struct {
	version <-chan struct{}
	below   *[256]seen[T] // parts by the next byte, while the prefix is short
	rows    []*T          // else, by GUID
}

// splitPrefix is how long a prefix is whose rows are compared one by one: of
// 100,000 random GUIDs each prefix has some 400.
const splitPrefix = 2

// watch makes a watch wake up when anything that the feed reads changes.
func watch(v *state.View) {
	v.RouteRows("")
	v.DestinationRows("")
	v.DomainRows("")
	v.AppRows("")
}

// readState takes in what the state says of routes. The view must not be one
// that is watched: the rows that are looked up would be watched each.
func (f *Feed) readState(v *state.View) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if v.Index() < f.index {
		return // somebody has shown us a newer one
	}
	f.index = v.Index()
	for guid := range f.tables.next(v) {
		f.refresh(v, guid)
	}
	f.publish()
}

// next returns the GUIDs of the routes that may be others than they were.
func (t *tables) next(v *state.View) map[string]struct{} {
	out := map[string]struct{}{}
	t.routes.next(v.RouteRows, "", func(r *cf.Route) string { return r.GUID }, func(was, is *cf.Route) {
		out[either(was, is).GUID] = struct{}{}
	})
	t.destinations.next(v.DestinationRows, "", func(d *cf.Destination) string { return d.GUID }, func(was, is *cf.Destination) {
		out[either(was, is).RouteGUID] = struct{}{}
	})
	renamed := map[string]struct{}{}
	t.domains.next(v.DomainRows, "", func(d *cf.Domain) string { return d.GUID }, func(was, is *cf.Domain) {
		if was == nil || is == nil || was.Name != is.Name {
			renamed[either(was, is).GUID] = struct{}{}
		}
	})
	if len(renamed) > 0 {
		for r := range v.RouteRows("").All {
			if _, ok := renamed[r.DomainGUID]; ok {
				out[r.GUID] = struct{}{}
			}
		}
	}
	t.apps.next(v.AppRows, "", func(a *cf.App) string { return a.GUID }, func(was, is *cf.App) {
		if was == nil || is != nil && was.Name == is.Name {
			return // a new one has no routes yet, or its destinations are new too
		}
		for _, d := range v.DestinationsOfApp(was.GUID) {
			out[d.RouteGUID] = struct{}{}
		}
	})
	return out
}

func either[T any](was, is *T) *T {
	if is != nil {
		return is
	}
	return was
}

// next calls changed for each row that is new (was is nil), gone (is is nil)
// or another one.
func (s *seen[T]) next(at func(prefix string) state.Rows[T], prefix string, guid func(*T) string, changed func(was, is *T)) {
	now := at(prefix)
	if now.Version == s.version {
		return
	}
	s.version = now.Version
	if len(prefix) >= splitPrefix {
		s.compare(now, guid, changed)
		return
	}
	if s.below == nil {
		if empty(now) {
			return
		}
		s.below = new([256]seen[T])
	}
	for b := range s.below {
		s.below[b].next(at, prefix+string([]byte{byte(b)}), guid, changed)
	}
}

func empty[T any](rows state.Rows[T]) bool {
	for range rows.All {
		return false
	}
	return true
}

// compare walks two lists in the order of their GUIDs.
func (s *seen[T]) compare(now state.Rows[T], guid func(*T) string, changed func(was, is *T)) {
	was, rows := s.rows, make([]*T, 0, len(s.rows)+1)
	for is := range now.All {
		rows = append(rows, is)
		for len(was) > 0 && was[0] != is && guid(was[0]) < guid(is) {
			changed(was[0], nil)
			was = was[1:]
		}
		switch {
		case len(was) == 0 || was[0] != is && guid(was[0]) != guid(is):
			changed(nil, is)
			continue
		case was[0] != is:
			changed(was[0], is)
		}
		was = was[1:]
	}
	for _, w := range was {
		changed(w, nil)
	}
	s.rows = rows
}
