package deploy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stackato/stackato/controller/state"
)

// Deployer brings Nomad's jobs in line with the rows.
type Deployer struct {
	cfg Config

	mu     sync.Mutex
	resync func() // of the term that runs
}

// New returns a deployer that does nothing until Run.
func New(cfg Config) *Deployer { return &Deployer{cfg: cfg.withDefaults()} }

// Resync makes a running deployer list all jobs now: one is missing, or is
// there that should not be.
func (d *Deployer) Resync() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.resync != nil {
		d.resync()
	}
}

// Between two passes there is a pause, so that a crowd of changes is one pass:
// three times as long as the last pass took, within these bounds.
const (
	pause    = 20 * time.Millisecond
	pauseMax = time.Second
)

// run is one term of a Primary. But for what is said, its fields belong to
// the goroutine of loop.
type run struct {
	cfg   Config
	state State
	view  *view

	ready      map[string]time.Time       // since when, by allocation
	stillReady map[string]time.Time       // the same, of this pass
	live       map[string]map[string]bool // allocations that stay, by process
	leaving    map[string]time.Time       // allocations that are on their way out
	most       map[string]int             // ready new instances, by deployment
	retry      map[string]backoff         // by job or move
	asked      map[string]question        // why a job is not placed
	next       time.Time                  // when a pass is due without a change
	sweep      time.Time                  // when versions without a job are looked for
	garbage    time.Time                  // when Nomad is told to forget, zero: never

	rolling atomic.Pointer[map[string]bool] // apps in a deployment, for watchInstances

	wakeUp chan struct{}
	lists  chan list
	full   chan struct{} // list the apps' jobs now
}

// list is one answer of Nomad.
type list struct {
	prefix string
	jobs   []Job
	index  uint64
}

func newRun(cfg Config, term uint64) *run {
	r := &run{
		cfg: cfg, state: cfg.State(term), view: newView(),
		ready: map[string]time.Time{}, leaving: map[string]time.Time{}, most: map[string]int{}, retry: map[string]backoff{}, asked: map[string]question{},
		wakeUp: make(chan struct{}, 1), lists: make(chan list), full: make(chan struct{}, 1),
	}
	r.rolling.Store(&map[string]bool{})
	return r
}

// Run works as the Primary of a term until ctx is done; then it returns nil.
// It must not run twice at the same time.
func (d *Deployer) Run(ctx context.Context, term uint64) error {
	r := newRun(d.cfg, term)
	d.mu.Lock()
	d.resync = r.relist
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.resync = nil
		d.mu.Unlock()
	}()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.watchState(ctx) })
	g.Go(func() error { return r.watchInstances(ctx) })
	g.Go(func() error { return r.listApps(ctx) })
	for _, prefix := range []string{prefixTask, prefixStaging} {
		g.Go(func() error { return r.follow(ctx, prefix) })
	}
	g.Go(func() error { return r.loop(ctx) })
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("deploy: %w", err)
	}
	return nil
}

// wake makes the loop do a pass.
func (r *run) wake() { signal(r.wakeUp) }

// relist makes the apps' jobs be listed.
func (r *run) relist() { signal(r.full) }

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // one is waiting
	}
}

// again asks for a pass after d at the latest.
func (r *run) again(d time.Duration) {
	if at := r.cfg.Now().Add(max(d, 0)); r.next.IsZero() || at.Before(r.next) {
		r.next = at
	}
}

func (r *run) loop(ctx context.Context) error {
	for {
		due, err := r.await(ctx)
		if err != nil {
			return err
		}
		if !due || !r.view.complete() {
			continue
		}
		began := time.Now()
		r.next = time.Time{}
		if err := r.pass(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			r.cfg.Log.Warn("could not bring the jobs in line; it is tried again", "err", err)
			r.again(time.Second)
		}
		if err := sleep(ctx, min(max(pause, 3*time.Since(began)), pauseMax)); err != nil {
			return err
		}
	}
}

// await waits for something to happen. It is due for a pass unless a list said
// nothing new.
func (r *run) await(ctx context.Context) (due bool, err error) {
	var at <-chan time.Time
	if !r.next.IsZero() {
		t := time.NewTimer(r.next.Sub(r.cfg.Now()))
		defer t.Stop()
		at = t.C
	}
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-r.wakeUp:
	case <-at:
	case l := <-r.lists:
		return r.view.replace(l.prefix, l.jobs, l.index), nil
	}
	return true, nil
}

// watchState wakes the loop whenever a row that it works from has changed.
// The wake-up comes from inside of read: a pass that begins after it sees at
// least what read saw, so nothing falls between two watches.
func (r *run) watchState(ctx context.Context) error {
	for {
		err := r.state.Watch(ctx, func(v *state.View) {
			v.TouchRuns()
			r.wake()
		})
		if err != nil {
			return err
		}
	}
}

// watchInstances wakes the loop when nodes report something of an app that is
// in a deployment. A deployment that begins later is a change of the rows.
func (r *run) watchInstances(ctx context.Context) error {
	sub := r.cfg.Instances.Subscribe()
	defer sub.Close()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-sub.Wake():
			rolling := *r.rolling.Load()
			for app := range sub.Take() {
				if rolling[app] {
					r.wake()
					break
				}
			}
		}
	}
}

// listApps lists the apps' jobs, which nobody but us changes, now and then.
func (r *run) listApps(ctx context.Context) error {
	tick := time.NewTicker(r.cfg.Resync)
	defer tick.Stop()
	for {
		if _, err := r.list(ctx, prefixApp, 0); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-r.full:
		}
	}
}

// follow lists jobs again whenever something has become of one.
func (r *run) follow(ctx context.Context, prefix string) error {
	var index uint64
	for {
		next, err := r.list(ctx, prefix, index)
		if err != nil {
			return err
		}
		if next < index {
			next = 0 // Nomad's index goes backwards only after a restore
		}
		index = next
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// list hands a list to the loop. It fails only when ctx is done.
func (r *run) list(ctx context.Context, prefix string, after uint64) (uint64, error) {
	wait := 250 * time.Millisecond
	for failed := false; ; failed = true {
		all, index, err := r.cfg.Nomad.Jobs(ctx, prefix, after)
		if err == nil {
			select {
			case <-ctx.Done():
				return 0, ctx.Err()
			case r.lists <- list{prefix, all, index}:
				return index, nil
			}
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if !failed {
			r.cfg.Log.Warn("could not list Nomad's jobs; it is tried again", "prefix", prefix, "err", err)
		}
		if err := sleep(ctx, jitter(wait)); err != nil {
			return 0, err
		}
		wait = min(2*wait, 5*time.Second)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
