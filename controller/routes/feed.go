package routes

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stackato/stackato/controller/instances"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/routing"
	"github.com/stackato/stackato/wire/rpcerr"
)

// Config is what a Feed is made from. All fields but Logger are needed.
type Config struct {
	State     *state.Store
	Instances *instances.Table
	// System returns what routers send to the controllers, and a channel that
	// is closed at its next change. It must not block.
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
	// started is closed when Run follows, ended when it does no more.
	started, ended chan struct{}

	mu        sync.Mutex
	instances *instances.Subscription // set once started
	tables    tables
	index     uint64 // of the state that tables show
	routes    map[string]*entry
	claims    map[routing.Key][]*entry       // at one address; the first has it
	byApp     map[string]map[*entry]struct{} // that lead to an app
	system    routing.System
	version   uint64
	moved     bool // something changed since version
	subs      map[*subscriber]struct{}
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
		cfg: cfg, started: make(chan struct{}), ended: make(chan struct{}),
		routes: map[string]*entry{}, claims: map[routing.Key][]*entry{}, byApp: map[string]map[*entry]struct{}{},
		subs: map[*subscriber]struct{}{},
	}
}

// Run follows the state and the instances until ctx is done; those who are
// served then are told to go elsewhere. Call it once.
func (f *Feed) Run(ctx context.Context) error {
	f.instances = f.cfg.Instances.Subscribe() // before any is looked at
	defer f.instances.Close()
	close(f.started)
	defer close(f.ended)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return f.followState(ctx) })
	group.Go(func() error { return f.followInstances(ctx) })
	group.Go(func() error { return f.followSystem(ctx) })
	err := group.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (f *Feed) followState(ctx context.Context) error {
	for ctx.Err() == nil {
		err := f.cfg.State.Watch(ctx, func(v *state.View) {
			watch(v)
			begin := time.Now()
			f.readState(f.cfg.State.Local()) // as new as v, or newer
			// While changes rain, half of the time is left to others.
			select {
			case <-ctx.Done():
			case <-time.After(min(time.Since(begin), 100*time.Millisecond)):
			}
		})
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func (f *Feed) followInstances(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.instances.Wake():
			f.readInstances()
		}
	}
}

func (f *Feed) followSystem(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.readSystem():
		}
	}
}

// readSystem takes in what routers send to the controllers; the channel is
// closed at the next change.
func (f *Feed) readSystem() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, changed := f.cfg.System()
	if s.Domain == f.system.Domain && slices.Equal(s.Hosts, f.system.Hosts) && slices.Equal(s.Targets, f.system.Targets) {
		return changed
	}
	f.system, f.moved = s, true
	for sub := range f.subs {
		sub.system = true
	}
	f.publish()
	return changed
}

// Serve sends a snapshot and then changes until ctx is done or send fails,
// with that error, or Run ends. It waits with the snapshot until the controller
// has learned what runs; without a Primary it fails. A controller that starts
// must not show routers the past, which its tables hold while the log is
// replayed.
func (f *Feed) Serve(ctx context.Context, send func(*routing.Update) error) error {
	if err := f.catchUp(ctx); err != nil {
		return err
	}
	sub := &subscriber{dirty: map[routing.Key]struct{}{}, wake: make(chan struct{}, 1)}
	u := f.snapshot(sub)
	defer f.unsubscribe(sub)
	for {
		if u != nil {
			if err := send(u); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.ended:
			return errEnded
		case <-sub.wake:
		}
		u = f.changes(sub)
	}
}

var errEnded = rpcerr.New(rpcerr.Unavailable, "this controller stops; another one has the routes")

// catchUp returns when the feed has taken in all that was known anywhere when
// it was called.
func (f *Feed) catchUp(ctx context.Context) error {
	if err := f.cfg.Instances.AwaitLearned(ctx); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-f.started:
	}
	fresh, err := f.cfg.State.Read(ctx)
	if err != nil {
		return err
	}
	f.readState(fresh)
	f.readInstances()
	f.readSystem()
	return nil
}

// snapshot returns all routes; the subscriber gets what changes after it.
func (f *Feed) snapshot(sub *subscriber) *routing.Update {
	term := f.cfg.Term()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subs[sub] = struct{}{}
	system := f.system
	u := &routing.Update{Term: term, Version: f.version, Source: f.cfg.Source, Snapshot: true, System: &system}
	u.Routes = make([]routing.Route, 0, len(f.claims))
	for _, claims := range f.claims {
		u.Routes = append(u.Routes, claims[0].route)
	}
	return u
}

// changes returns what the subscriber has not been sent, nil if that is
// nothing.
func (f *Feed) changes(sub *subscriber) *routing.Update {
	term := f.cfg.Term()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(sub.dirty) == 0 && !sub.system {
		return nil
	}
	u := &routing.Update{Term: term, Version: f.version, Source: f.cfg.Source}
	for key := range sub.dirty {
		if claims := f.claims[key]; len(claims) > 0 {
			u.Routes = append(u.Routes, claims[0].route)
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

// changed notes for every subscriber that a route has changed; mu is held.
func (f *Feed) changed(key routing.Key) {
	f.moved = true
	for sub := range f.subs {
		sub.dirty[key] = struct{}{}
	}
}

// publish makes one version of what has changed and wakes the subscribers; mu
// is held.
func (f *Feed) publish() {
	if !f.moved {
		return
	}
	f.moved = false
	f.version++
	for sub := range f.subs {
		select {
		case sub.wake <- struct{}{}:
		default:
		}
	}
}
