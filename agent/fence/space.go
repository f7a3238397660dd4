package fence

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Space is the room on the file system that containers write to, in bytes.
type Space struct{ Free, Total uint64 }

// Disks are measured every ten seconds, and at once when the file system fills
// up quickly: a tenant could fill it in between.
const (
	spaceStep     = 32 << 20 // a smaller loss of room is nobody's attack
	spaceShare    = 32       // nor is one of less than this part of what is free
	spaceReserve  = 2 << 30  // below which every loss counts; at most a twentieth of all
	spaceIdle     = 4        // times as long as a round took nothing is done after it
	spaceTell     = time.Minute
	measureAtOnce = 4 // containers
)

// spaceWatch says when disks are to be measured before their time.
type spaceWatch struct {
	high uint64    // free at the last round, or more if room came back
	next time.Time // not before
	told time.Time
}

func (w *spaceWatch) low(s Space) bool { return s.Free < min(spaceReserve, s.Total/20) }

// urgent reports whether the room shrinks so fast that it must be seen why.
func (w *spaceWatch) urgent(s Space, now time.Time) bool {
	w.high = max(w.high, s.Free)
	if now.Before(w.next) {
		return false
	}
	return w.low(s) || w.high-s.Free >= max(spaceStep, s.Free/spaceShare)
}

// measured notes a round that has taken so long.
func (w *spaceWatch) measured(s Space, took time.Duration, now time.Time) {
	w.high, w.next = s.Free, now.Add(spaceIdle*took)
}

// space asks the file system of the engine's directory.
func (f *Fence) space(ctx context.Context) (Space, error) {
	if f.cfg.Space != nil {
		return f.cfg.Space()
	}
	if f.rootDir == "" { // only measure asks
		info, err := f.cfg.Engine.Info(ctx)
		if err != nil {
			return Space{}, err
		}
		f.rootDir = info.RootDir
	}
	var s unix.Statfs_t
	if err := unix.Statfs(f.rootDir, &s); err != nil {
		return Space{}, fmt.Errorf("free space of %s: %w", f.rootDir, err)
	}
	size := uint64(s.Bsize) //nolint:gosec // never negative
	return Space{Free: s.Bavail * size, Total: s.Blocks * size}, nil
}

// measureDisks measures what every container holds, now, and ends those that
// hold more than they may.
func (f *Fence) measureDisks(ctx context.Context, list []Container) (ended int) {
	var (
		group errgroup.Group
		over  atomic.Int32
	)
	group.SetLimit(measureAtOnce)
	for _, c := range list {
		if f.diskLimit(c) <= 0 {
			continue
		}
		group.Go(func() error {
			used, err := f.cfg.Engine.written(ctx, c.ID)
			if err != nil {
				if !errors.Is(err, errGone) && ctx.Err() == nil {
					f.cfg.Logger.Warn("measuring a disk", "container", c.ID, "error", err)
				}
				return nil
			}
			if f.holdToDisk(ctx, c, used) {
				over.Add(1)
			}
			return nil
		})
	}
	_ = group.Wait() // none of them fails
	return int(over.Load())
}

// rush measures the disks if the file system fills up quickly.
func (f *Fence) rush(ctx context.Context, w *spaceWatch) {
	s, err := f.space(ctx)
	if err != nil || !w.urgent(s, time.Now()) {
		return // what is measured now and then must do
	}
	began := time.Now()
	ended := f.measureDisks(ctx, append(f.table.alive(), f.staging()...))
	now := time.Now()
	w.measured(s, now.Sub(began), now)
	if w.low(s) && ended == 0 && now.Sub(w.told) >= spaceTell {
		w.told = now
		f.cfg.Logger.Warn("the disk that containers write to is nearly full, and none holds more than it may: "+
			"make room, or give this node less to do (kato node retire)", "free_mb", s.Free>>20)
	}
}
