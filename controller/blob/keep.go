package blob

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"time"
)

// KeepConfig says how a controller looks after its blobs. Live is needed; zero
// in other fields means the default.
type KeepConfig struct {
	// Live returns the blobs that rows name. It must be fresh: an error
	// means that nothing is removed.
	Live func(ctx context.Context) (map[string]Blob, error)
	// Drop is how often it is looked for blobs whose last row is gone.
	// Default 10 s; they are removed at the second look.
	Drop time.Duration
	// Repair is how often missing blobs are fetched. Default 5 minutes.
	Repair time.Duration
	// Sweep is how often all that no row names is looked for. Default 1 hour.
	Sweep time.Duration
	// Grace of the sweep. Default DefaultGrace.
	Grace time.Duration
	// Scrub is how often every blob is read and checked, the first time an
	// hour after the start. Default 7 days, at most ScrubRate bytes a
	// second, default 20 MiB.
	Scrub     time.Duration
	ScrubRate int
}

func (k KeepConfig) withDefaults() KeepConfig {
	for d, v := range map[*time.Duration]time.Duration{
		&k.Drop: 10 * time.Second, &k.Repair: 5 * time.Minute, &k.Sweep: time.Hour, &k.Grace: DefaultGrace, &k.Scrub: 7 * 24 * time.Hour,
	} {
		if *d == 0 {
			*d = v
		}
	}
	if k.ScrubRate == 0 {
		k.ScrubRate = 20 << 20
	}
	return k
}

// Keep removes from this controller's directory what no row names any more,
// fetches what it lacks, and reads everything now and then. It ends when ctx
// does, with its error.
func (c *Cluster) Keep(ctx context.Context, cfg KeepConfig) error {
	cfg = cfg.withDefaults()
	scrubbed := make(chan struct{})
	go func() {
		defer close(scrubbed)
		c.scrubEvery(ctx, cfg)
	}()
	defer func() { <-scrubbed }()
	k := keeper{dir: c.local}
	nextRepair, nextSweep := time.Now().Add(cfg.Repair), time.Now().Add(cfg.Sweep)
	for wait(ctx, cfg.Drop) {
		live, err := cfg.Live(ctx)
		if err != nil {
			continue // no Primary: later
		}
		err = k.step(live)
		if now := time.Now(); !now.Before(nextRepair) {
			nextRepair = now.Add(cfg.Repair)
			_, rerr := c.Repair(ctx, maps.Keys(live))
			err = errors.Join(err, rerr)
		}
		if now := time.Now(); !now.Before(nextSweep) {
			nextSweep = now.Add(cfg.Sweep)
			_, serr := Sweep(ctx, c.local, func(digest string) bool { _, ok := live[digest]; return ok }, cfg.Grace)
			err = errors.Join(err, serr)
		}
		if err != nil && ctx.Err() == nil {
			c.cfg.Logger.Warn("looking after this controller's blobs", "error", err)
		}
	}
	return context.Cause(ctx)
}

func (c *Cluster) scrubEvery(ctx context.Context, cfg KeepConfig) {
	for first := min(time.Hour, cfg.Scrub); wait(ctx, first); first = cfg.Scrub {
		damaged, err := c.local.Scrub(ctx, cfg.ScrubRate)
		if ctx.Err() == nil && (err != nil || damaged > 0) {
			c.cfg.Logger.LogAttrs(ctx, slog.LevelError, "blobs on this controller's disk are damaged",
				slog.Int("damaged", damaged), slog.Any("error", err))
		}
	}
}

// wait returns false when ctx is done.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// keeper drops blobs whose last row went away. It compares what is live at two
// looks, so it costs nothing to have many blobs.
type keeper struct {
	dir  *Dir
	live map[string]Blob
	gone map[string]bool // at the last look
}

func (k *keeper) step(live map[string]Blob) error {
	gone := map[string]bool{}
	var errs []error
	for digest := range k.gone { // for the second time: no row took it over
		if _, ok := live[digest]; ok {
			continue
		}
		err := k.dir.Drop(digest)
		if err != nil {
			gone[digest] = true // at the next look, then
		}
		if !errors.Is(err, errPutAgain) {
			errs = append(errs, err)
		}
	}
	for digest := range k.live {
		if _, ok := live[digest]; !ok {
			gone[digest] = true
		}
	}
	k.live, k.gone = live, gone
	return errors.Join(errs...)
}
