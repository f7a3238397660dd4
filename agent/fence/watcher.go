package fence

import (
	"cmp"
	"context"
	"slices"

	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/rpcerr"
)

const (
	maxWatchers = 64   // of one node: there are five voters at most
	maxPending  = 2048 // changes that wait for one watcher
)

// watcher waits for changes. Several of one instance become one, the last; if
// too many wait they become a snapshot.
type watcher struct {
	wake     chan struct{} // holds one
	snapshot bool
	images   bool // have changed
	pending  map[string]instance.Status
}

// publish tells every watcher of an entry. The lock is held.
func (t *table) publish(e *entry) {
	for w := range t.watchers {
		if !w.snapshot {
			w.pending[e.status.AllocID] = e.status
		}
		if len(w.pending) > maxPending {
			w.snapshot, w.pending = true, map[string]instance.Status{}
		}
		w.poke()
	}
}

// announce tells every watcher which images are verified, if that is another
// set than before.
func (t *table) announce(images []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.images != nil && slices.Equal(*t.images, images) {
		return
	}
	t.images = &images
	for w := range t.watchers {
		w.images = true
		w.poke()
	}
}

func (w *watcher) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// watch sends a snapshot, then changes, until ctx or send ends it.
func (t *table) watch(ctx context.Context, send func(instance.Report) error) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.listed:
	}
	w, err := t.subscribe()
	if err != nil {
		return err
	}
	defer t.unsubscribe(w)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.wake:
		}
		if err := send(t.take(w)); err != nil {
			return err
		}
	}
}

func (t *table) subscribe() (*watcher, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.watchers) >= maxWatchers {
		return nil, rpcerr.New(rpcerr.Exhausted, "%d watch this node already", maxWatchers)
	}
	w := &watcher{wake: make(chan struct{}, 1), snapshot: true, pending: map[string]instance.Status{}}
	w.wake <- struct{}{}
	t.watchers[w] = struct{}{}
	return w, nil
}

func (t *table) unsubscribe(w *watcher) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.watchers, w)
}

// take returns what waits for a watcher.
func (t *table) take(w *watcher) instance.Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := instance.Report{Snapshot: w.snapshot, Instances: []instance.Status{}}
	if w.snapshot {
		for _, e := range t.byAlloc {
			r.Instances = append(r.Instances, e.status)
		}
	} else {
		for _, s := range w.pending {
			r.Instances = append(r.Instances, s)
		}
	}
	if w.snapshot || w.images {
		r.Images = t.images
	}
	w.images = false
	w.snapshot, w.pending = false, map[string]instance.Status{}
	slices.SortFunc(r.Instances, func(a, b instance.Status) int { return cmp.Compare(a.AllocID, b.AllocID) })
	return r
}
