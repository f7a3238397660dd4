package table

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/stackato/stackato/wire/routing"
)

// Why a pick found nothing.
var (
	ErrNoBackend = errors.New("no backend")             // none is left
	ErrBusy      = errors.New("every backend is busy")  // each has MaxInFlight requests
	ErrNoSuch    = errors.New("no such instance there") // Choice.App and Choice.Index name none
)

// Route is a route with its backends. It does not change; the table replaces it.
type Route struct {
	routing.Key        // "*.…" for a wildcard
	GUID        string // "" for the system's hosts
	System      bool   // served by the controllers

	leastConnection bool
	backends        []*Backend
	next            *atomic.Uint32 // outlives the route's replacement
}

// Choice says what a pick has to respect. The zero value respects nothing.
type Choice struct {
	Now         time.Time  // ejections are compared with it
	Sticky      string     // allocation ID that is preferred
	App         string     // with Index: the only instance that will do, of this app
	Index       int        //
	Tried       []*Backend // left out
	MaxInFlight int        // 0: no bound
}

// Backends is the number of backends, whatever their state.
func (r *Route) Backends() int { return len(r.backends) }

// Pick takes a backend for a request, or says with ErrNoBackend, ErrBusy or
// ErrNoSuch why there is none. The caller calls Sent and then Release of the
// backend. An ejected backend is taken only when all others are, too: a wrong
// ejection must not cut an app off. It allocates nothing.
func (r *Route) Pick(c *Choice) (*Backend, error) {
	if c.Sticky != "" {
		for _, b := range r.backends {
			if b.AllocID == c.Sticky && r.fits(b, c, true) && b.acquire() {
				return b, nil
			}
		}
	}
	first := r.next.Add(1)
	for _, healthy := range [...]bool{true, false} {
		// Another round if the best one was withdrawn in between.
		for range len(r.backends) {
			b := r.best(c, healthy, first)
			if b == nil {
				break
			}
			if b.acquire() {
				return b, nil
			}
		}
	}
	return nil, r.refusal(c)
}

// best returns the backend whose turn it is, counted from first.
func (r *Route) best(c *Choice, healthy bool, first uint32) *Backend {
	n := uint32(len(r.backends)) //nolint:gosec // bounded by the feed
	var best *Backend
	for i := range n {
		b := r.backends[(first+i)%n]
		if !r.fits(b, c, healthy) {
			continue
		}
		if !r.leastConnection {
			return b
		}
		if best == nil || b.inFlight.Load() < best.inFlight.Load() {
			best = b
		}
	}
	return best
}

func (r *Route) fits(b *Backend, c *Choice, healthy bool) bool {
	if b.withdrawn.Load() || healthy && b.Ejected(c.Now) || !c.names(b) {
		return false
	}
	if c.MaxInFlight > 0 && b.InFlight() >= c.MaxInFlight {
		return false
	}
	for _, t := range c.Tried {
		if t == b {
			return false
		}
	}
	return true
}

func (c *Choice) names(b *Backend) bool {
	return c.App == "" || b.AppGUID == c.App && b.Index == c.Index
}

func (r *Route) refusal(c *Choice) error {
	named := false
	for _, b := range r.backends {
		if b.withdrawn.Load() || !c.names(b) {
			continue
		}
		named = true
		if c.MaxInFlight > 0 && b.InFlight() >= c.MaxInFlight {
			return ErrBusy
		}
	}
	if c.App != "" && !named {
		return ErrNoSuch
	}
	return ErrNoBackend
}
