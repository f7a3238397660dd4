package table

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/stackato/stackato/wire/routing"
)

// Apply takes an update in. It refuses, with ErrOld or ErrNoSnapshot, what does
// not follow on what the table holds. An update that says nothing new and stands
// where the table stands is a sign of life and accepted. Routes and backends
// that make no sense are left out and counted in skipped.
func (t *Table) Apply(u *routing.Update) (skipped int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.follows(u); err != nil {
		return 0, err
	}
	skipped = t.applyRoutes(u)
	if u.System != nil {
		skipped += t.applySystem(u.System)
	}
	t.position, t.fromDisk = u.Position(), false
	t.ready.Store(true)
	return skipped, nil
}

// Load fills an empty table with what was kept on disk. It counts as older than
// every snapshot of the same or a later term.
func (t *Table) Load(u *routing.Update) (skipped int, err error) {
	skipped, err = t.Apply(u)
	if err == nil {
		t.mu.Lock()
		t.fromDisk = true
		t.mu.Unlock()
	}
	return skipped, err
}

func (t *Table) follows(u *routing.Update) error {
	at := t.position
	same := u.Source == at.Source
	switch {
	case u.Term < at.Term:
		return fmt.Errorf("%w: term %d after %d", ErrOld, u.Term, at.Term)
	case u.Snapshot && (!same || u.Term > at.Term || t.fromDisk):
		return nil
	case !u.Snapshot && (!same || !t.ready.Load()):
		return ErrNoSnapshot
	case u.Term == at.Term && u.Version < at.Version:
		return fmt.Errorf("%w: version %d after %d", ErrOld, u.Version, at.Version)
	case u.Term == at.Term && u.Version == at.Version && !u.Snapshot && len(u.Routes)+len(u.Removed) > 0:
		return fmt.Errorf("%w: version %d twice", ErrOld, u.Version)
	}
	return nil
}

// applyRoutes first counts what is new, then drops what was replaced, so that a
// backend that is in both keeps its state.
func (t *Table) applyRoutes(u *routing.Update) (skipped int) {
	exact, wild := t.exact.edit(u.Snapshot), t.wild.edit(u.Snapshot)
	var gone []*Route
	if u.Snapshot {
		gone = t.all()
		t.routes.Store(0)
	}
	put := func(key routing.Key, isWild bool, r *Route) {
		e := exact
		if isWild {
			e = wild
		}
		old := e.set(key.Host, key.Path, r)
		if old != nil {
			gone = append(gone, old)
			t.routes.Add(-1)
		}
		if r != nil {
			t.routes.Add(1)
		}
	}
	for _, k := range u.Removed {
		if key, isWild, ok := cleanKey(k); ok {
			put(key, isWild, nil)
		}
	}
	for i := range u.Routes {
		key, isWild, ok := cleanKey(u.Routes[i].Key)
		if !ok {
			skipped++
			continue
		}
		r, bad := t.build(&u.Routes[i], key, isWild)
		skipped += bad
		put(key, isWild, r)
	}
	exact.publish()
	wild.publish()
	for _, r := range gone {
		t.drop(r)
	}
	if u.Snapshot {
		t.forget()
	}
	return skipped
}

// build makes the route and counts its backends in.
func (t *Table) build(w *routing.Route, key routing.Key, isWild bool) (r *Route, skipped int) {
	r = &Route{Key: key, GUID: w.GUID, leastConnection: w.LoadBalancing == "least-connection"}
	if isWild {
		r.Host = "*." + key.Host
	}
	for _, b := range w.Backends {
		if !validAddress(b.Address) || b.AllocID == "" {
			skipped++
			continue
		}
		// An app may be mapped twice, for two of its ports.
		if !slices.ContainsFunc(r.backends, func(have *Backend) bool { return have.Backend == b }) {
			r.backends = append(r.backends, t.share(b))
		}
	}
	if r.next = t.turn(key, isWild); r.next == nil {
		r.next = new(atomic.Uint32)
	}
	return r, skipped
}

// turn returns whose turn it is at a route that is replaced.
func (t *Table) turn(key routing.Key, isWild bool) *atomic.Uint32 {
	x := t.exact
	if isWild {
		x = t.wild
	}
	if h := x.get(key.Host); h != nil {
		if r := h.at(key.Path); r != nil {
			return r.next
		}
	}
	return nil
}

func (t *Table) share(b routing.Backend) *Backend {
	s := t.shares[b]
	if s == nil {
		s = &share{backend: &Backend{Backend: b}}
		t.shares[b] = s
		t.allocs[b.AllocID] = append(t.allocs[b.AllocID], s.backend)
	}
	s.routes++
	w := s.backend.withdrawal()
	if at, buried := t.tombstones[w]; buried {
		if t.now().Sub(at) < tombstoneAge {
			s.backend.withdrawn.Store(true)
		} else {
			delete(t.tombstones, w)
			for _, each := range t.allocs[b.AllocID] {
				if each.withdrawal() == w {
					each.revive()
				}
			}
		}
	}
	return s.backend
}

func (t *Table) drop(r *Route) {
	for _, b := range r.backends {
		s := t.shares[b.Backend]
		if s == nil {
			continue
		}
		if s.routes--; s.routes > 0 {
			continue
		}
		delete(t.shares, b.Backend)
		rest := slices.DeleteFunc(t.allocs[b.AllocID], func(each *Backend) bool { return each == b })
		if len(rest) > 0 {
			t.allocs[b.AllocID] = rest
		} else {
			delete(t.allocs, b.AllocID)
		}
		w := b.withdrawal()
		if !slices.ContainsFunc(rest, func(each *Backend) bool { return each.withdrawal() == w }) {
			delete(t.tombstones, w) // the feed agrees
		}
		b.gone()
	}
}

// forget removes the tombstones of instances that a snapshot does not have.
func (t *Table) forget() {
	for w := range t.tombstones {
		if len(t.allocs[w.AllocID]) == 0 {
			delete(t.tombstones, w)
		}
	}
}

func (t *Table) all() []*Route {
	var out []*Route
	for _, x := range []*index{t.exact, t.wild} {
		for r := range x.all() {
			out = append(out, r)
		}
	}
	return out
}

func (t *Table) applySystem(w *routing.System) (skipped int) {
	old := t.system.Load()
	s := &system{hosts: map[string]bool{}, wire: w, route: &Route{System: true, next: new(atomic.Uint32)}}
	for _, h := range w.Hosts {
		if key, isWild, ok := cleanKey(routing.Key{Host: h}); ok && !isWild {
			s.hosts[key.Host] = true
		} else {
			skipped++
		}
	}
	known := map[string]*Backend{}
	if old != nil {
		for _, b := range old.route.backends {
			known[b.Address] = b
		}
	}
	for _, address := range w.Targets {
		b := known[address]
		if b == nil && !validAddress(address) {
			skipped++
			continue
		}
		if b == nil {
			b = &Backend{Backend: routing.Backend{Address: address}, System: true}
		}
		delete(known, address)
		s.route.backends = append(s.route.backends, b)
	}
	t.system.Store(s)
	for _, b := range known {
		b.gone()
	}
	return skipped
}

// Dump returns the table as a snapshot, without the instances that were
// withdrawn. Changes go on meanwhile: the snapshot has all that the table had when
// Dump was called, whose position it bears, and perhaps some that came later;
// taking these in again does no harm.
func (t *Table) Dump() *routing.Update {
	at := t.Position()
	u := &routing.Update{Term: at.Term, Version: at.Version, Source: at.Source, Snapshot: true}
	for _, r := range t.all() {
		w := routing.Route{Key: r.Key, GUID: r.GUID}
		if r.leastConnection {
			w.LoadBalancing = "least-connection"
		}
		for _, b := range r.backends {
			if !b.Withdrawn() {
				w.Backends = append(w.Backends, b.Backend)
			}
		}
		u.Routes = append(u.Routes, w)
	}
	if s := t.system.Load(); s != nil {
		u.System = s.wire
	}
	return u
}

func validAddress(a string) bool {
	host, port, err := net.SplitHostPort(a)
	if err != nil || host == "" {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}
