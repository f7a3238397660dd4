package routes

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/stackato/stackato/controller/instances"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/routing"
)

// Config is what a Feed is made from. All fields but Logger are needed.
type Config struct {
	State     *state.Store
	Instances *instances.Table
	// System returns what routers send to the controllers, and a channel that
	// is closed at its next change.
	System func() (routing.System, <-chan struct{})
	// Term is the Raft term that this controller is in.
	Term func() uint64
	// Source names this controller and its start; no two starts share one.
	Source string
	Logger *slog.Logger
}

// Feed keeps the routes of the cluster and tells routers of changes. It is
// safe for concurrent use.
type Feed struct {
	cfg Config

	mu      sync.Mutex
	entries map[routing.Key]*entry
	byApp   map[string]map[routing.Key]struct{}
	system  routing.System
	version uint64
	subs    map[*subscriber]struct{}
	index   uint64 // of the state that entries show
}

// subscriber is a router that is connected.
type subscriber struct {
	dirty  map[routing.Key]struct{}
	system bool
	wake   chan struct{}
}

// New returns a feed that knows no routes yet.
func New(cfg Config) *Feed {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Feed{
		cfg: cfg, entries: map[routing.Key]*entry{}, byApp: map[string]map[routing.Key]struct{}{},
		subs: map[*subscriber]struct{}{},
	}
}

// Run follows the state and the instances until ctx is done.
func (f *Feed) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return f.followState(ctx) })
	group.Go(func() error { return f.followInstances(ctx) })
	group.Go(func() error { return f.followSystem(ctx) })
	err := group.Wait()
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it was told to end
	}
	return err
}

func (f *Feed) followState(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := f.cfg.State.Watch(ctx, f.readState); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func (f *Feed) followInstances(ctx context.Context) error {
	sub := f.cfg.Instances.Subscribe()
	defer sub.Close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sub.Wake():
			f.rebuild(sub.Take())
		}
	}
}

func (f *Feed) followSystem(ctx context.Context) error {
	for {
		system, changed := f.cfg.System()
		f.setSystem(system)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

func (f *Feed) setSystem(s routing.System) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.Domain == f.system.Domain && slices.Equal(s.Hosts, f.system.Hosts) && slices.Equal(s.Targets, f.system.Targets) {
		return
	}
	f.system = s
	f.version++
	for sub := range f.subs {
		sub.system = true
		sub.poke()
	}
}

// Serve sends a snapshot and then changes until ctx is done or send fails,
// with that error. It waits with the snapshot until the controller has learned
// what runs; without a Primary it fails. A controller that starts must not
// show routers the past, which its tables hold while the log is replayed.
func (f *Feed) Serve(ctx context.Context, send func(*routing.Update) error) error {
	if err := f.cfg.Instances.AwaitLearned(ctx); err != nil {
		return err
	}
	fresh, err := f.cfg.State.Read(ctx)
	if err != nil {
		return err
	}
	f.readState(fresh)
	sub := &subscriber{dirty: map[routing.Key]struct{}{}, wake: make(chan struct{}, 1)}
	u := f.snapshot(sub)
	defer f.unsubscribe(sub)
	for {
		if err := send(u); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-sub.wake:
		}
		u = f.changes(sub)
	}
}

// snapshot returns all routes; the subscriber gets what changes after it.
func (f *Feed) snapshot(sub *subscriber) *routing.Update {
	term := f.cfg.Term()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subs[sub] = struct{}{}
	system := f.system
	u := &routing.Update{Term: term, Version: f.version, Source: f.cfg.Source, Snapshot: true, System: &system}
	u.Routes = make([]routing.Route, 0, len(f.entries))
	for _, e := range f.entries {
		u.Routes = append(u.Routes, e.route)
	}
	return u
}

func (f *Feed) changes(sub *subscriber) *routing.Update {
	term := f.cfg.Term()
	f.mu.Lock()
	defer f.mu.Unlock()
	u := &routing.Update{Term: term, Version: f.version, Source: f.cfg.Source}
	for key := range sub.dirty {
		if e := f.entries[key]; e != nil {
			u.Routes = append(u.Routes, e.route)
		} else {
			u.Removed = append(u.Removed, key)
		}
	}
	clear(sub.dirty)
	if sub.system {
		system := f.system
		u.System, sub.system = &system, false
	}
	return u
}

func (f *Feed) unsubscribe(sub *subscriber) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.subs, sub)
}

// touch tells everybody that a route has changed; mu is held.
func (f *Feed) touch(key routing.Key) {
	for sub := range f.subs {
		sub.dirty[key] = struct{}{}
		sub.poke()
	}
}

func (s *subscriber) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
