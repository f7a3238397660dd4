package watch

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/stackato/stackato/router/table"
	"github.com/stackato/stackato/wire/routing"
)

// Feed is where routes come from.
type Feed interface {
	// Subscribe opens a stream to a controller, another one than last time if it
	// can, and calls apply for each message, one at a time, in order. have says
	// how far the router has read: the controller that counts so may go on from
	// there, every other one sends a snapshot first. If nothing has changed its
	// first message is an Update at have without routes.
	//
	// It returns when ctx ends, when the stream does, when the controller has been
	// silent for too long to be believed alive, or with the error of apply.
	Subscribe(ctx context.Context, have routing.Position, apply func(*routing.Update) error) error
}

// Config is what a Watch needs. Zero durations stand for their defaults.
type Config struct {
	Feed   Feed
	Table  *table.Table
	File   string       // where the table is kept; "" keeps none
	Logger *slog.Logger // nil is slog.Default()

	StaleAfter   time.Duration // without a feed for so long, the table is stale; default 2 s
	MinBackoff   time.Duration // before the first reconnection; default 100 ms
	MaxBackoff   time.Duration // between reconnections; default 5 s
	SaveInterval time.Duration // between two writes of File; default 1 s
}

// Watch keeps a table up to date. Use New.
type Watch struct {
	cfg     Config
	log     *slog.Logger
	current atomic.Bool  // a feed is open and has spoken
	since   atomic.Int64 // since when it is not, Unix nanoseconds; 0: since ever
	changed chan struct{}
	refused atomic.Int64
}

// New returns a watch that does nothing yet.
func New(cfg Config) *Watch {
	cfg.StaleAfter = or(cfg.StaleAfter, 2*time.Second)
	cfg.MinBackoff = or(cfg.MinBackoff, 100*time.Millisecond)
	cfg.MaxBackoff = or(cfg.MaxBackoff, 5*time.Second)
	cfg.SaveInterval = or(cfg.SaveInterval, time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Watch{cfg: cfg, log: cfg.Logger, changed: make(chan struct{}, 1)}
}

func or(d, byDefault time.Duration) time.Duration {
	if d == 0 {
		return byDefault
	}
	return d
}

// Stale reports whether the table may no longer be true: no controller has fed
// it for Config.StaleAfter. Ports of instances that it names may then belong to
// others.
func (w *Watch) Stale() bool {
	return !w.current.Load() && time.Now().UnixNano()-w.since.Load() >= int64(w.cfg.StaleAfter)
}

// Refused is how many updates the table has refused because they were old.
func (w *Watch) Refused() int64 { return w.refused.Load() }

// Run fills the table from disk, follows feeds, reconnecting with jitter, and
// keeps the table on disk until ctx ends. It returns nil then: there is nothing
// that makes it give up.
func (w *Watch) Run(ctx context.Context) error {
	w.load()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		w.follow(gctx)
		return nil
	})
	g.Go(func() error {
		w.save(gctx)
		return nil
	})
	return g.Wait()
}

func (w *Watch) follow(ctx context.Context) {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = w.cfg.MinBackoff, w.cfg.MaxBackoff
	for ctx.Err() == nil {
		err := w.cfg.Feed.Subscribe(ctx, w.cfg.Table.Position(), w.apply)
		if w.current.Swap(false) {
			w.since.Store(time.Now().UnixNano())
			wait.Reset()
		}
		if ctx.Err() != nil {
			return
		}
		pause := wait.NextBackOff()
		w.log.Warn("route feed ended, trying the next controller", "err", err, "in", pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// apply is called by the feed for each message.
func (w *Watch) apply(u *routing.Update) error {
	skipped, err := w.cfg.Table.Apply(u)
	if errors.Is(err, table.ErrOld) {
		w.refused.Add(1)
	}
	if err != nil {
		return err
	}
	if skipped > 0 {
		w.log.Warn("the feed has routes or instances that make no sense, left out", "count", skipped, "version", u.Version)
	}
	if !w.current.Swap(true) {
		w.log.Info("route feed is up", "term", u.Term, "version", u.Version, "routes", w.cfg.Table.Len())
	}
	if u.Snapshot || len(u.Routes)+len(u.Removed) > 0 || u.System != nil {
		select {
		case w.changed <- struct{}{}:
		default: // a write is due already
		}
	}
	return nil
}
