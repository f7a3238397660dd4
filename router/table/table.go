package table

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stackato/stackato/wire/routing"
)

// tombstoneAge is how long a withdrawal holds against a feed that goes on to
// call the instance ready: longer than controllers need to hear of a stop, short
// enough for an instance that was restarted in place.
const tombstoneAge = 30 * time.Second

// maxTombstones bounds those of instances that the router does not know (yet):
// a node that was broken into could name any number.
const maxTombstones = 10_000

// ErrOld refuses an update of an older term, or one that the table has passed.
var ErrOld = errors.New("update is older than the route table")

// ErrNoSnapshot refuses a change of a feed that has not sent its snapshot.
var ErrNoSnapshot = errors.New("change without a snapshot before it")

// Table is a router's route table. Use New. All methods may be called
// concurrently; Lookup and System take no lock.
type Table struct {
	now    func() time.Time
	exact  *index
	wild   *index // by the host without "*."
	system atomic.Pointer[system]
	ready  atomic.Bool
	routes atomic.Int64

	mu         sync.Mutex // of what follows, and of all changes
	position   routing.Position
	fromDisk   bool
	shares     map[routing.Backend]*share
	allocs     map[string][]*Backend
	tombstones map[routing.Withdrawal]time.Time // when it was withdrawn
}

// share is a backend with the number of routes that lead to it.
type share struct {
	backend *Backend
	routes  int
}

type system struct {
	hosts map[string]bool
	route *Route
	wire  *routing.System
}

// New returns an empty table. now is the clock; nil is time.Now.
func New(now func() time.Time) *Table {
	if now == nil {
		now = time.Now
	}
	return &Table{
		now: now, exact: newIndex(), wild: newIndex(),
		shares: map[routing.Backend]*share{}, allocs: map[string][]*Backend{}, tombstones: map[routing.Withdrawal]time.Time{},
	}
}

// Ready reports whether the table has ever been filled: before that a route
// that is not found may well exist.
func (t *Table) Ready() bool { return t.ready.Load() }

// Len is the number of routes.
func (t *Table) Len() int { return int(t.routes.Load()) }

// Lookup returns the route for a Host header and an escaped path, or nil. The
// system's hosts come first, then the host itself with the longest path, then
// wildcards from the longest to the shortest.
func (t *Table) Lookup(hostHeader, path string) *Route {
	host := Host(hostHeader)
	if host == "" {
		return nil
	}
	if s := t.system.Load(); s != nil && s.hosts[host] {
		return s.route
	}
	if h := t.exact.get(host); h != nil {
		if r := h.match(path); r != nil {
			return r
		}
	}
	if t.wild.hosts.Load() == 0 {
		return nil
	}
	for {
		_, rest, found := strings.Cut(host, ".")
		if !found {
			return nil
		}
		if h := t.wild.get(rest); h != nil {
			if r := h.match(path); r != nil {
				return r
			}
		}
		host = rest
	}
}

// Position says how far the feed has been read.
func (t *Table) Position() routing.Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.position
}

// Backends is the number of instances that routes lead to.
func (t *Table) Backends() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.shares)
}

// CloseIdle closes the idle connections to all backends.
func (t *Table) CloseIdle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.shares {
		s.backend.closeIdle()
	}
	if s := t.system.Load(); s != nil {
		for _, b := range s.route.backends {
			b.closeIdle()
		}
	}
}

// Withdraw takes an instance out before the feed says so: it returns nil when no
// new request can go there, and ctx's error if one that was picked before is
// still not on its way; new ones are kept away even then. Requests in flight are
// not touched; inFlight is their number. The instance comes back when the feed
// has dropped it and names it again, names it with another start of its
// container, or names it half a minute later.
func (t *Table) Withdraw(ctx context.Context, w routing.Withdrawal) (inFlight int, err error) {
	backends, waits := t.withdraw(w)
	for _, quiet := range waits {
		select {
		case <-quiet:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	for _, b := range backends {
		inFlight += b.InFlight()
	}
	return inFlight, nil
}

func (t *Table) withdraw(w routing.Withdrawal) (backends []*Backend, waits []<-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for w, at := range t.tombstones { // few: instances that stop right now
		if now.Sub(at) > 10*tombstoneAge && len(t.allocs[w.AllocID]) == 0 {
			delete(t.tombstones, w)
		}
	}
	for _, b := range t.allocs[w.AllocID] {
		if b.withdrawal() == w {
			backends = append(backends, b)
		}
	}
	if len(backends) > 0 || len(t.tombstones) < maxTombstones {
		t.tombstones[w] = now
	}
	for _, b := range backends {
		if quiet := b.withdraw(); quiet != nil {
			waits = append(waits, quiet)
		}
		b.closeIdle()
	}
	return backends, waits
}
