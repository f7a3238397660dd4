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

// Space is the room on the file system that containers write to, in bytes, and
// how many files it can still take of how many: 0 of 0 where there is no end.
type Space struct{ Free, Total, FreeFiles, Files uint64 }

// Disks are measured every ten seconds, and at once when the file system fills
// up quickly, with bytes or with files: a tenant could fill it in between.
const (
	spaceStep     = 32 << 20 // a smaller loss of room is nobody's attack
	spaceShare    = 32       // nor is one of less than this part of what is free
	spaceReserve  = 2 << 30  // below which every loss counts; at most a twentieth of all
	spaceFiles    = 8 << 10  // as spaceStep, in files
	reserveFiles  = 100_000  // as spaceReserve, in files
	spaceIdle     = 4        // times as long as a round took nothing is done after it
	spaceTell     = time.Minute
	measureAtOnce = 4 // containers
)

// gauge watches one of the two.
type gauge struct {
	step, reserve uint64
	high          uint64 // free at the last round, or more if room came back
}

func (g *gauge) low(free, total uint64) bool { return free < min(g.reserve, total/20) }

// urgent reports whether the room shrinks so fast that it must be seen why.
func (g *gauge) urgent(free, total uint64) bool {
	g.high = max(g.high, free)
	return g.low(free, total) || g.high-free >= max(g.step, free/spaceShare)
}

// spaceWatch says when disks are to be measured before their time.
type spaceWatch struct {
	bytes, files gauge
	next         time.Time // not before
	told         time.Time
}

func newSpaceWatch() *spaceWatch {
	return &spaceWatch{bytes: gauge{step: spaceStep, reserve: spaceReserve}, files: gauge{step: spaceFiles, reserve: reserveFiles}}
}

func (w *spaceWatch) low(s Space) bool {
	return w.bytes.low(s.Free, s.Total) || w.files.low(s.FreeFiles, s.Files)
}

func (w *spaceWatch) urgent(s Space, now time.Time) bool {
	bytes, files := w.bytes.urgent(s.Free, s.Total), w.files.urgent(s.FreeFiles, s.Files)
	return (bytes || files) && !now.Before(w.next)
}

// measured notes a round that has taken so long. One in which not every container
// could be measured has not found out where the room went: there is to be another.
func (w *spaceWatch) measured(s Space, took time.Duration, now time.Time, whole bool) {
	if whole {
		w.bytes.high, w.files.high = s.Free, s.FreeFiles
	} else {
		took = max(took, time.Second)
	}
	w.next = now.Add(spaceIdle * took)
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
	return Space{Free: s.Bavail * size, Total: s.Blocks * size, FreeFiles: s.Ffree, Files: s.Files}, nil
}

// measureDisks measures what every container holds, now, and ends those that
// hold more than they may. It reports whether all could be measured.
func (f *Fence) measureDisks(ctx context.Context, list []Container) (ended int, whole bool) {
	var (
		group        errgroup.Group
		over, failed atomic.Int32
	)
	group.SetLimit(measureAtOnce)
	all := f.processes()
	for _, c := range list {
		if disk, _ := f.limits(c); disk <= 0 {
			continue
		}
		group.Go(func() error {
			used, err := f.held(ctx, c, all)
			if err != nil {
				if !errors.Is(err, errGone) && ctx.Err() == nil {
					failed.Add(1)
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
	return int(over.Load()), failed.Load() == 0
}

// rush measures the disks if the file system fills up quickly.
func (f *Fence) rush(ctx context.Context, w *spaceWatch) {
	s, err := f.space(ctx)
	if err != nil || !w.urgent(s, time.Now()) {
		return // what is measured now and then must do
	}
	began := time.Now()
	ended, whole := f.measureDisks(ctx, append(f.table.alive(), f.staging()...))
	now := time.Now()
	w.measured(s, now.Sub(began), now, whole)
	if w.low(s) && ended == 0 && now.Sub(w.told) >= spaceTell {
		w.told = now
		f.cfg.Logger.Warn("the disk that containers write to is nearly full, and none holds more than it may: "+
			"make room, or add nodes with the role dea", "free_mb", s.Free>>20, "free_files", s.FreeFiles)
	}
}
