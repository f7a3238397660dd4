package fence

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// How long things are kept that nobody uses.
const (
	keepTasks = time.Hour          // that ended: controllers must have learned
	keepSpecs = 7 * 24 * time.Hour // of versions that do not run here
	keepDead  = 10 * time.Minute   // containers that Nomad did not remove
	// keepEnded is keepDead of an app's instances that had started: after a power loss Nomad knows
	// nothing of their containers any more, and its own collection looks at running ones only. If it
	// does know one it begins a new one in its place, as it would have. Not so tasks and builds, which
	// it would run twice.
	keepEnded = 20 * time.Second
)

// keepHouse forgets what is over and prunes what is not used.
func (f *Fence) keepHouse(ctx context.Context) error {
	linger := time.NewTicker(f.cfg.Timing.Linger / 4)
	defer linger.Stop()
	prune := time.NewTicker(f.cfg.Timing.Housekeep)
	defer prune.Stop()
	ended := time.NewTicker(f.cfg.Timing.Ended)
	defer ended.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-linger.C:
			now := f.cfg.Now()
			f.table.lingered(now.Add(-f.cfg.Timing.Linger), now.Add(-keepTasks))
		case <-prune.C:
			f.prune(ctx)
		case <-ended.C:
			if err := f.pruneEnded(ctx, time.Now().Add(-keepEnded)); err != nil && ctx.Err() == nil {
				f.cfg.Logger.Warn("removing ended containers", "error", err)
			}
		}
	}
}

// prune removes blobs and specifications that nothing here needs.
func (f *Fence) prune(ctx context.Context) {
	used := f.table.inUse()
	droplets := map[string]bool{}
	for k := range used {
		if spec := f.specs.cached(k); spec != nil {
			droplets[spec.Droplet.Digest] = true
		}
	}
	err := errors.Join(
		f.blobs.prune(droplets),
		f.specs.prune(time.Now().Add(-keepSpecs), used),
		f.pruneContainers(ctx, time.Now().Add(-keepDead)),
	)
	if err != nil && ctx.Err() == nil {
		f.cfg.Logger.Error("pruning what is not needed any more", "error", err)
	}
}

// sizes says how much there is of how much.
func sizes(used, limit int64) string {
	return fmt.Sprintf("%d MB of %d MB", used>>20, limit>>20)
}
