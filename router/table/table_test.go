package table_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stackato/stackato/router/table"
	"github.com/stackato/stackato/wire/routing"
)

func backend(id string) routing.Backend {
	return routing.Backend{Address: "10.0.0.1:20000", AllocID: id, AppGUID: "app-" + id, Node: "n1", Process: "web"}
}

func route(host, path string, ids ...string) routing.Route {
	r := routing.Route{Key: routing.Key{Host: host, Path: path}, GUID: host + path}
	for _, id := range ids {
		r.Backends = append(r.Backends, backend(id))
	}
	return r
}

func withdrawal(id string) routing.Withdrawal {
	return routing.Withdrawal{AllocID: id, Address: backend(id).Address}
}

func snapshot(version uint64, routes ...routing.Route) *routing.Update {
	return &routing.Update{Term: 1, Version: version, Source: "a", Snapshot: true, Routes: routes}
}

func change(version uint64, routes ...routing.Route) *routing.Update {
	return &routing.Update{Term: 1, Version: version, Source: "a", Routes: routes}
}

func apply(tb testing.TB, t *table.Table, updates ...*routing.Update) {
	tb.Helper()
	for _, u := range updates {
		if _, err := t.Apply(u); err != nil {
			tb.Fatalf("apply version %d: %v", u.Version, err)
		}
	}
}

func filled(tb testing.TB, updates ...*routing.Update) *table.Table {
	tb.Helper()
	t := table.New(nil)
	apply(tb, t, updates...)
	return t
}

// picks takes n backends, lets them go, and counts them.
func picks(r *table.Route, n int, c table.Choice) map[string]int {
	got := map[string]int{}
	for range n {
		b, err := r.Pick(&c)
		if err != nil {
			got[err.Error()]++
			continue
		}
		got[b.AllocID]++
		b.Sent()
		b.Release()
	}
	return got
}

func TestLookup(t *testing.T) {
	tab := filled(t, snapshot(1,
		route("app.example.com", "", "root"), route("app.example.com", "/a", "a"), route("app.example.com", "/a/b/", "ab"),
		route("app.example.com", "/Caps", "caps"), route("paths.example.com", "/only", "only"),
		route("*.example.com", "", "wild"), route("*.b.example.com", "", "wildb"), route("*.example.com", "/w", "wildw"),
		route("empty.example.com", "")))
	tests := []struct{ host, path, want string }{
		{"app.example.com", "/", "app.example.com"},
		{"app.example.com", "", "app.example.com"},
		{"APP.Example.COM:8080", "/", "app.example.com"},
		{"app.example.com.", "/x", "app.example.com"},
		{"app.example.com:", "/x", "app.example.com"},
		{"app.example.com:evil", "/", ""},
		{"app.example.com:80@evil.example.com", "/", ""},
		{"app.example.com:80, evil.example.com:80", "/", ""},
		{"app.example.com:655361", "/", ""},
		{"app.example.com", "/a", "app.example.com/a"},
		{"app.example.com", "/a/", "app.example.com/a"},
		{"app.example.com", "/ab", "app.example.com"},
		{"app.example.com", "/a/bc", "app.example.com/a"},
		{"app.example.com", "/a/b", "app.example.com/a/b/"},
		{"app.example.com", "/a/b/c/d", "app.example.com/a/b/"},
		{"app.example.com", "/A/B/c", "app.example.com/a/b/"},
		{"app.example.com", "/caps", "app.example.com/Caps"},
		{"app.example.com", "/CAPS/x", "app.example.com/Caps"},
		{"app.example.com", "//a", "app.example.com"},
		{"app.example.com", "*", "app.example.com"},
		{"paths.example.com", "/only/this", "paths.example.com/only"},
		{"paths.example.com", "/other", "*.example.com"},
		{"other.example.com", "/", "*.example.com"},
		{"other.example.com", "/w/x", "*.example.com/w"},
		{"x.b.example.com", "/", "*.b.example.com"},
		{"x.y.example.com", "/", "*.example.com"},
		{"empty.example.com", "/", "empty.example.com"},
		{"example.com", "/", ""},
		{"example.org", "/", ""},
		{"", "/", ""},
		{"app.example.com:80:80", "/", ""},
		{"app.example.com/a", "/", ""},
		{"user@app.example.com", "/", ""},
		{"[::1]:80", "/", ""},
		{"*.example.com", "/", ""},
	}
	for _, tt := range tests {
		got := ""
		if r := tab.Lookup(tt.host, tt.path); r != nil {
			got = r.GUID
		}
		if got != tt.want {
			t.Errorf("Lookup(%q, %q) = %q, want %q", tt.host, tt.path, got, tt.want)
		}
	}
}

func TestSystemHostsComeFirst(t *testing.T) {
	u := snapshot(1, route("api.example.com", "", "thief"), route("*.example.com", "", "wild"))
	u.System = &routing.System{Hosts: []string{"api.example.com", "login.example.com"}, Targets: []string{"10.0.0.1:7303", "10.0.0.2:7303", "nonsense"}}
	tab := filled(t, u)
	for _, host := range []string{"api.example.com", "LOGIN.example.com:443"} {
		if r := tab.Lookup(host, "/v3"); r == nil || !r.System || r.Backends() != 2 {
			t.Errorf("%s leads to %+v, want both controllers", host, r)
		}
	}
	if r := tab.Lookup("app.example.com", "/"); r == nil || r.System {
		t.Errorf("an app's host leads to %+v", r)
	}
}

func TestApplyOrder(t *testing.T) {
	other := snapshot(1, route("b", ""))
	other.Source = "b"
	newTerm := snapshot(1, route("b", ""))
	newTerm.Term = 2
	newTermOther := *other
	newTermOther.Term = 2
	oldTerm := snapshot(99)
	oldTerm.Term, oldTerm.Source = 0, "b"
	changeOfOther := change(11)
	changeOfOther.Source = "b"
	tests := []struct {
		name string
		u    *routing.Update
		want error
	}{
		{"next change", change(11, route("c", "")), nil},
		{"change after a gap", change(20, route("c", "")), nil},
		{"sign of life", change(10), nil},
		{"same change", change(10, route("c", "")), table.ErrOld},
		{"older change", change(9, route("c", "")), table.ErrOld},
		{"older snapshot of the same source", snapshot(9), table.ErrOld},
		{"same snapshot", snapshot(10), nil},
		{"snapshot of another source", other, nil},
		{"change of another source", changeOfOther, table.ErrNoSnapshot},
		{"snapshot of a new term", newTerm, nil},
		{"snapshot of a new term and source", &newTermOther, nil},
		{"snapshot of an old term", oldTerm, table.ErrOld},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tab := filled(t, snapshot(10, route("a", "")))
			_, err := tab.Apply(tt.u)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if want := tt.u.Position(); err == nil && tab.Position() != want {
				t.Errorf("position %+v, want %+v", tab.Position(), want)
			}
			if err != nil && tab.Lookup("a", "/") == nil {
				t.Error("a refused update has changed the table")
			}
		})
	}
	if _, err := table.New(nil).Apply(change(1)); !errors.Is(err, table.ErrNoSnapshot) {
		t.Errorf("a change of an empty table: %v", err)
	}
}

func TestChanges(t *testing.T) {
	tab := filled(t, snapshot(1, route("a", "", "1"), route("a", "/p", "2"), route("b", "", "3")))
	apply(t, tab, change(2, route("a", "", "1", "4")), &routing.Update{
		Term: 1, Version: 3, Source: "a", Removed: []routing.Key{{Host: "b"}, {Host: "a", Path: "/p"}, {Host: "unknown"}},
	})
	if got := tab.Lookup("a", "/p/x"); got == nil || got.GUID != "a" || got.Backends() != 2 {
		t.Errorf("got %+v, want route a with two backends", got)
	}
	if tab.Lookup("b", "/") != nil {
		t.Error("b is still there")
	}
	if tab.Len() != 1 || tab.Backends() != 2 {
		t.Errorf("%d routes, %d backends; want 1 and 2", tab.Len(), tab.Backends())
	}
	apply(t, tab, snapshot(4, route("c", "")))
	if tab.Lookup("a", "/") != nil || tab.Lookup("c", "/") == nil || tab.Len() != 1 || tab.Backends() != 0 {
		t.Error("a snapshot does not replace everything")
	}
}

func TestNonsenseIsLeftOut(t *testing.T) {
	bad := route("ok", "", "1")
	bad.Backends = append(bad.Backends, routing.Backend{Address: "nowhere", AllocID: "2"}, routing.Backend{Address: "h:0", AllocID: "3"}, routing.Backend{Address: "h:1"})
	tab := table.New(nil)
	skipped, err := tab.Apply(snapshot(1, bad, route("", ""), route("a b", ""), route("c:80", ""), route("d", "no-slash"), route("e", "/a?b"), route("*.*.f", "")))
	if err != nil || skipped != 9 {
		t.Errorf("skipped %d, %v; want 9", skipped, err)
	}
	if r := tab.Lookup("ok", "/"); r == nil || r.Backends() != 1 {
		t.Errorf("got %+v", r)
	}
}

func TestDumpLoads(t *testing.T) {
	u := snapshot(7, route("a", "/p", "1", "2"), route("*.b", "", "3"), route("c", ""))
	u.Routes[0].LoadBalancing = "least-connection"
	u.System = &routing.System{Hosts: []string{"api.b"}, Targets: []string{"h:1"}, Domain: "b"}
	kept := filled(t, u).Dump()
	again := table.New(nil)
	if _, err := again.Load(kept); err != nil {
		t.Fatal(err)
	}
	byKey := cmpopts.SortSlices(func(a, b routing.Route) bool { return a.Host+a.Path < b.Host+b.Path })
	if diff := cmp.Diff(u, again.Dump(), byKey); diff != "" {
		t.Error(diff)
	}
	// A controller that counts anew is believed after a restart of the router.
	apply(t, again, snapshot(2))
}

func TestRoundRobinGoesOnAcrossChanges(t *testing.T) {
	tab := filled(t, snapshot(1, route("a", "", "1", "2", "3")))
	if diff := cmp.Diff(map[string]int{"1": 10, "2": 10, "3": 10}, picks(tab.Lookup("a", ""), 30, table.Choice{})); diff != "" {
		t.Error(diff)
	}
	got := map[string]int{}
	for v := range uint64(30) { // the same route said again and again must not begin at the same backend
		apply(t, tab, change(2+v, route("a", "", "1", "2", "3")))
		for id := range picks(tab.Lookup("a", ""), 1, table.Choice{}) {
			got[id]++
		}
	}
	if diff := cmp.Diff(map[string]int{"1": 10, "2": 10, "3": 10}, got); diff != "" {
		t.Error(diff)
	}
}

func TestLeastConnection(t *testing.T) {
	r := route("a", "", "1", "2")
	r.LoadBalancing = "least-connection"
	got := filled(t, snapshot(1, r)).Lookup("a", "")
	busy, _ := got.Pick(&table.Choice{})
	want := map[string]int{"1": 5}
	if busy.AllocID == "1" {
		want = map[string]int{"2": 5}
	}
	if diff := cmp.Diff(want, picks(got, 5, table.Choice{})); diff != "" {
		t.Error(diff)
	}
}

func TestPick(t *testing.T) {
	now := time.Now()
	r := filled(t, snapshot(1, route("a", "", "1", "2", "3"))).Lookup("a", "")
	first, _ := r.Pick(&table.Choice{Sticky: "1"}) // one in flight
	tests := []struct {
		name  string
		c     table.Choice
		eject bool
		want  map[string]int
	}{
		{"sticky", table.Choice{Sticky: "2"}, false, map[string]int{"2": 6}},
		{"sticky to none", table.Choice{Sticky: "9"}, false, map[string]int{"1": 2, "2": 2, "3": 2}},
		{"sticky but tried", table.Choice{Sticky: "1", Tried: []*table.Backend{first}}, false, map[string]int{"2": 3, "3": 3}},
		{"ejected", table.Choice{Now: now}, true, map[string]int{"2": 3, "3": 3}},
		{"ejection is over", table.Choice{Now: now.Add(2 * time.Minute)}, true, map[string]int{"1": 2, "2": 2, "3": 2}},
		{"sticky but ejected", table.Choice{Now: now, Sticky: "1"}, true, map[string]int{"2": 3, "3": 3}},
		{"full", table.Choice{MaxInFlight: 1}, false, map[string]int{"2": 3, "3": 3}},
		{"only the full one", table.Choice{MaxInFlight: 1, App: "app-1"}, false, map[string]int{table.ErrBusy.Error(): 6}},
		{"the instance", table.Choice{App: "app-2"}, false, map[string]int{"2": 6}},
		{"the instance, though ejected", table.Choice{App: "app-1", Now: now}, true, map[string]int{"1": 6}},
		{"no such instance", table.Choice{App: "app-2", Index: 1}, false, map[string]int{table.ErrNoSuch.Error(): 6}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			first.Restore()
			if tt.eject {
				first.Eject(now.Add(time.Minute))
			}
			got := picks(r, 6, tt.c)
			if len(tt.want) == 2 && tt.want["2"] == 3 { // the one after a gap gets its turns too
				if got["2"]+got["3"] != 6 || got["2"] == 0 || got["3"] == 0 {
					t.Errorf("got %v, want 2 and 3 only", got)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	none := filled(t, snapshot(1, route("a", ""))).Lookup("a", "")
	if _, err := none.Pick(&table.Choice{}); !errors.Is(err, table.ErrNoBackend) {
		t.Errorf("got %v", err)
	}
}

func TestAllEjectedServeNonetheless(t *testing.T) {
	now := time.Now()
	r := filled(t, snapshot(1, route("a", "", "1", "2"))).Lookup("a", "")
	for range 2 {
		b, err := r.Pick(&table.Choice{Now: now})
		if err != nil {
			t.Fatal(err)
		}
		b.Eject(now.Add(time.Minute))
	}
	if diff := cmp.Diff(map[string]int{"1": 2, "2": 2}, picks(r, 4, table.Choice{Now: now})); diff != "" {
		t.Error(diff)
	}
}

func TestWithdrawWaitsForRequestsOnTheirWay(t *testing.T) {
	tab := filled(t, snapshot(1, route("a", "", "1"), route("b", "", "1", "2")))
	b, err := tab.Lookup("a", "").Pick(&table.Choice{})
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := tab.Withdraw(short, withdrawal("1")); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("withdrawn while a request is on its way: %v", err)
	}
	if diff := cmp.Diff(map[string]int{"2": 4}, picks(tab.Lookup("b", ""), 4, table.Choice{})); diff != "" {
		t.Error(diff)
	}
	if got := picks(tab.Lookup("a", ""), 1, table.Choice{Sticky: "1"}); got[table.ErrNoBackend.Error()] != 1 {
		t.Errorf("got %v", got)
	}
	done := make(chan error)
	go func() {
		inFlight, err := tab.Withdraw(t.Context(), withdrawal("1"))
		if inFlight != 1 {
			err = fmt.Errorf("%d in flight, %w", inFlight, err)
		}
		done <- err
	}()
	b.Sent()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if b.InFlight() != 1 {
		t.Error("a withdrawal has ended a request in flight")
	}
}

func TestTombstones(t *testing.T) {
	now := time.Unix(1e9, 0)
	serves := func(t *testing.T, tab *table.Table, want bool) {
		t.Helper()
		_, err := tab.Lookup("a", "").Pick(&table.Choice{})
		if (err == nil) != want {
			t.Errorf("serves: %v, want %v", err, want)
		}
	}
	both := route("a", "", "1")
	anew := route("a", "", "1")
	anew.Backends[0].Started = 2
	tests := []struct {
		name string
		then []*routing.Update
		wait time.Duration
		want bool
	}{
		{"the feed does not know yet", []*routing.Update{change(2, both)}, 0, false},
		{"nor does the next controller", []*routing.Update{{Term: 1, Version: 1, Source: "b", Snapshot: true, Routes: []routing.Route{both}}}, 0, false},
		{"dropped and there again", []*routing.Update{change(2, route("a", "")), change(3, both)}, 0, true},
		{"started anew before the feed has dropped it", []*routing.Update{change(2, anew)}, 0, true},
		{"named for long", []*routing.Update{change(2, both)}, time.Minute, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			clock := now
			tab := table.New(func() time.Time { return clock })
			apply(t, tab, snapshot(1, both))
			if _, err := tab.Withdraw(t.Context(), withdrawal("1")); err != nil {
				t.Fatal(err)
			}
			serves(t, tab, false)
			if len(tab.Dump().Routes[0].Backends) != 0 {
				t.Error("a withdrawn instance is kept on disk")
			}
			clock = now.Add(tt.wait)
			apply(t, tab, tt.then...)
			serves(t, tab, tt.want)
		})
	}
	t.Run("withdrawn before it was known", func(t *testing.T) {
		tab := filled(t, snapshot(1, route("a", "")))
		if _, err := tab.Withdraw(t.Context(), withdrawal("1")); err != nil {
			t.Fatal(err)
		}
		apply(t, tab, change(2, both))
		serves(t, tab, false)
	})
}

// TestWithdrawalIsForOneAddress: a node that speaks for its own addresses must
// not take out instances that are elsewhere, whatever it calls them.
func TestWithdrawalIsForOneAddress(t *testing.T) {
	tab := filled(t, snapshot(1, route("a", "", "1")))
	foreign := routing.Withdrawal{AllocID: "1", Address: "10.9.9.9:1"}
	if _, err := tab.Withdraw(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"1": 2}, picks(tab.Lookup("a", ""), 2, table.Choice{})); diff != "" {
		t.Error(diff)
	}
	apply(t, tab, change(2, route("a", ""), route("b", "", "1")))
	if diff := cmp.Diff(map[string]int{"1": 2}, picks(tab.Lookup("b", ""), 2, table.Choice{})); diff != "" {
		t.Error("after the feed named it again: ", diff)
	}
}

// TestWithdrawWhileOthersPick shows under the race detector that nobody gets a
// backend once its withdrawal has returned.
func TestWithdrawWhileOthersPick(t *testing.T) {
	tab := filled(t, snapshot(1, route("a", "", "1", "2")))
	r := tab.Lookup("a", "")
	withdrawn := make(chan struct{})
	failed := make(chan error, 4)
	for range 4 {
		go func() {
			for range 20000 {
				var after bool
				select {
				case <-withdrawn:
					after = true
				default:
				}
				b, err := r.Pick(&table.Choice{})
				if err == nil && after && b.AllocID == "1" {
					err = fmt.Errorf("got the withdrawn one")
				}
				if err != nil {
					failed <- err
					return
				}
				b.Sent()
				b.Release()
			}
			failed <- nil
		}()
	}
	if _, err := tab.Withdraw(t.Context(), withdrawal("1")); err != nil {
		t.Error(err)
	}
	close(withdrawn)
	for range 4 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

func TestCoreAllocatesNothing(t *testing.T) {
	tab := filled(t, snapshot(1, route("app.example.com", "", "1"), route("app.example.com", "/api/v1", "1", "2"), route("*.example.com", "", "3")))
	c := &table.Choice{Now: time.Now(), MaxInFlight: 100}
	for _, host := range []string{"app.example.com", "app.example.com:8080", "other.example.com"} {
		allocs := testing.AllocsPerRun(100, func() {
			b, err := tab.Lookup(host, "/api/v1/things/7").Pick(c)
			if err != nil {
				t.Fatal(err)
			}
			b.Sent()
			b.Release()
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations per request, want 0", host, allocs)
		}
	}
}

func FuzzLookup(f *testing.F) {
	for _, seed := range [][2]string{{"app.example.com:80", "/a/b/c"}, {"[::1]:80", "//"}, {"..", "/a%2fb"}, {"*.example.com", "*"}, {"A.EXAMPLE.COM.", "/A/"}} {
		f.Add(seed[0], seed[1])
	}
	tab := filled(f, snapshot(1, route("app.example.com", "/a", "1"), route("app.example.com", "/a/b", "1"), route("*.example.com", "", "2")))
	f.Fuzz(func(t *testing.T, host, path string) {
		clean := table.Host(host)
		if clean != table.Host(clean) {
			t.Errorf("Host(%q) = %q, which is not a host itself", host, clean)
		}
		got := tab.Lookup(host, path)
		// Whatever is a key must be found under itself.
		own := table.New(nil)
		skipped, err := own.Apply(snapshot(1, route(host, path)))
		if err != nil {
			t.Fatal(err)
		}
		if skipped == 0 && host[0] != '*' && own.Lookup(host, path) == nil {
			t.Errorf("route %q %q is not found", host, path)
		}
		if got != nil && clean == "" {
			t.Errorf("%q has a route, but is no host", host)
		}
	})
}
