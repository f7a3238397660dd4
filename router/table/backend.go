package table

import (
	"sync/atomic"
	"time"

	"github.com/stackato/stackato/wire/routing"
)

// Attachment is what the data path keeps for a backend: its connections.
type Attachment interface {
	// CloseIdleConnections is called when no new request goes to the backend.
	CloseIdleConnections()
	// Doubt is called when the backend has left the table without a withdrawal: its
	// machine may be lost, and then what is in flight will never be answered.
	Doubt()
}

// Backend is one instance as this router sees it. It is shared by all routes
// that lead to it and lives as long as the feed describes it in the same words.
// All methods may be called concurrently.
type Backend struct {
	routing.Backend
	System bool // a controller's API listener, not an app

	withdrawn atomic.Bool
	starting  atomic.Int32 // picked, request not yet on its way
	inFlight  atomic.Int32
	ejected   atomic.Int64 // until, Unix nanoseconds
	quiet     atomic.Pointer[waiter]
	attached  atomic.Pointer[Attachment]
}

// waiter is closed when the last request that was picked before a withdrawal is
// on its way.
type waiter struct {
	done   chan struct{}
	closed atomic.Bool
}

// withdrawal is what takes the backend out: an instance at its address, since
// its last start. Who may speak for the one address cannot take out what is at
// another.
func (b *Backend) withdrawal() routing.Withdrawal {
	return routing.Withdrawal{AllocID: b.AllocID, Address: b.Address, Started: b.Started}
}

// InFlight is the number of requests that the backend works on.
func (b *Backend) InFlight() int { return int(b.inFlight.Load()) }

// Withdrawn reports whether new requests are kept away.
func (b *Backend) Withdrawn() bool { return b.withdrawn.Load() }

// acquire takes the backend for a request. The order matters: counted first,
// then asked, so that a withdrawal sees whoever got through before it.
func (b *Backend) acquire() bool {
	b.starting.Add(1)
	if b.withdrawn.Load() {
		b.Sent()
		return false
	}
	b.inFlight.Add(1)
	return true
}

// Sent says that the request for which the backend was picked is on its way to
// it, or never will be. It is called exactly once for each pick; withdrawals
// wait for it.
func (b *Backend) Sent() {
	if b.starting.Add(-1) != 0 {
		return
	}
	if w := b.quiet.Load(); w != nil && w.closed.CompareAndSwap(false, true) {
		close(w.done)
	}
}

// Release says that the backend has finished with a request for which it was
// picked. It is called exactly once for each pick, after Sent.
func (b *Backend) Release() { b.inFlight.Add(-1) }

// Eject keeps requests away until then, as long as others can serve them.
func (b *Backend) Eject(until time.Time) { b.ejected.Store(until.UnixNano()) }

// Restore ends an ejection: the backend has answered.
func (b *Backend) Restore() {
	if b.ejected.Load() != 0 {
		b.ejected.Store(0)
	}
}

// Ejected reports whether the backend is ejected at that time.
func (b *Backend) Ejected(at time.Time) bool {
	until := b.ejected.Load()
	return until != 0 && until > at.UnixNano()
}

// Attach returns what the data path keeps for the backend, made at first use.
// Of two made at one time one is dropped unused.
func (b *Backend) Attach(build func(*Backend) Attachment) Attachment {
	if a := b.attached.Load(); a != nil {
		return *a
	}
	a := build(b)
	if b.attached.CompareAndSwap(nil, &a) {
		return a
	}
	return *b.attached.Load()
}

// withdraw keeps new requests away. What it returns is closed, or nil, when all
// requests that were picked before are on their way.
func (b *Backend) withdraw() <-chan struct{} {
	b.withdrawn.Store(true)
	w := &waiter{done: make(chan struct{})}
	if !b.quiet.CompareAndSwap(nil, w) {
		w = b.quiet.Load()
	}
	if b.starting.Load() == 0 {
		return nil
	}
	return w.done
}

// revive undoes a withdrawal that the feed contradicts for too long.
func (b *Backend) revive() {
	b.quiet.Store(nil)
	b.withdrawn.Store(false)
}

// gone is called when no route leads to the backend any more.
func (b *Backend) gone() {
	b.closeIdle()
	if a := b.attached.Load(); a != nil && !b.withdrawn.Load() {
		(*a).Doubt()
	}
}

func (b *Backend) closeIdle() {
	if a := b.attached.Load(); a != nil {
		(*a).CloseIdleConnections()
	}
}
