package consensus

import (
	"context"
	"sync"

	"github.com/hashicorp/raft"
)

// leaderWatch wakes those who wait for an answer of a leader as soon as this
// node knows of another one, or of none: a machine that has lost its power
// answers nothing, and time-outs are longer than elections.
type leaderWatch struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each change
}

func newLeaderWatch() *leaderWatch { return &leaderWatch{changed: make(chan struct{})} }

// next returns a channel that is closed at the next change.
func (w *leaderWatch) next() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

func (w *leaderWatch) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
}

// follow passes Raft's observations on until ctx ends.
func (w *leaderWatch) follow(ctx context.Context, r *raft.Raft) {
	// One place is enough: an observation that does not fit in follows one
	// that has not been passed on yet.
	in := make(chan raft.Observation, 1)
	observer := raft.NewObserver(in, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	r.RegisterObserver(observer)
	defer r.DeregisterObserver(observer)
	for {
		select {
		case <-ctx.Done():
			return
		case <-in:
			w.wake()
		}
	}
}

// whileLeads returns a context that ends with ctx or when changed is closed.
func whileLeads(ctx context.Context, changed <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() { // ends with the context
		select {
		case <-ctx.Done():
		case <-changed:
			cancel()
		}
	}()
	return ctx, cancel
}
