package routes

import (
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

// tables are the rows that the feed has seen last. What has changed is found
// by comparing pointers: of 100,000 routes that takes milliseconds.
type tables struct {
	routes       seen[cf.Route]
	destinations seen[cf.Destination]
	domains      seen[cf.Domain]
	apps         seen[cf.App]
}

// seen is a table as it was seen last, by GUID.
type seen[T any] struct {
	version <-chan struct{}
	rows    []*T
}

// watch makes a watch wake up when anything that the feed reads changes.
func watch(v *state.View) {
	v.RouteRows()
	v.DestinationRows()
	v.DomainRows()
	v.AppRows()
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
	t.routes.next(v.RouteRows(), func(r *cf.Route) string { return r.GUID }, func(was, is *cf.Route) {
		out[either(was, is).GUID] = struct{}{}
	})
	t.destinations.next(v.DestinationRows(), func(d *cf.Destination) string { return d.GUID }, func(was, is *cf.Destination) {
		out[either(was, is).RouteGUID] = struct{}{}
	})
	renamed := map[string]struct{}{}
	t.domains.next(v.DomainRows(), func(d *cf.Domain) string { return d.GUID }, func(was, is *cf.Domain) {
		if was == nil || is == nil || was.Name != is.Name {
			renamed[either(was, is).GUID] = struct{}{}
		}
	})
	if len(renamed) > 0 {
		for _, r := range t.routes.rows {
			if _, ok := renamed[r.DomainGUID]; ok {
				out[r.GUID] = struct{}{}
			}
		}
	}
	t.apps.next(v.AppRows(), func(a *cf.App) string { return a.GUID }, func(was, is *cf.App) {
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
func (s *seen[T]) next(now state.Rows[T], guid func(*T) string, changed func(was, is *T)) {
	if now.Version == s.version {
		return
	}
	was, rows, i := s.rows, make([]*T, 0, len(s.rows)+len(s.rows)/64+16), 0
	for is := range now.All {
		rows = append(rows, is)
		if i < len(was) && was[i] == is { // nearly all
			i++
			continue
		}
		for ; i < len(was) && guid(was[i]) < guid(is); i++ {
			changed(was[i], nil)
		}
		if i < len(was) && was[i] == is {
			i++
		} else if i < len(was) && guid(was[i]) == guid(is) {
			changed(was[i], is)
			i++
		} else {
			changed(nil, is)
		}
	}
	for ; i < len(was); i++ {
		changed(was[i], nil)
	}
	s.version, s.rows = now.Version, rows
}
