package fence

import (
	"context"
	"time"
)

// How long things are kept that nobody uses.
const (
	keepTasks = time.Hour          // that ended: controllers must have learned
	keepSpecs = 7 * 24 * time.Hour // of versions that do not run here
)

// keepHouse forgets what is over and prunes what is not used.
func (f *Fence) keepHouse(ctx context.Context) error {
	linger := time.NewTicker(f.cfg.Timing.Linger / 4)
	defer linger.Stop()
	prune := time.NewTicker(f.cfg.Timing.Housekeep)
	defer prune.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-linger.C:
			now := f.cfg.Now()
			f.table.lingered(now.Add(-f.cfg.Timing.Linger), now.Add(-keepTasks))
		case <-prune.C:
			f.prune()
		}
	}
}

// prune removes blobs and specifications that nothing here needs.
func (f *Fence) prune() {
	used := f.table.inUse()
	droplets := map[string]bool{}
	for k := range used {
		if spec := f.specs.cached(k); spec != nil {
			droplets[spec.Droplet.Digest] = true
		}
	}
	if err := f.blobs.prune(droplets); err != nil {
		f.cfg.Logger.Error("pruning", "error", err)
	}
	if err := f.specs.prune(time.Now().Add(-keepSpecs), used); err != nil {
		f.cfg.Logger.Error("pruning", "error", err)
	}
}
