package lifecycle

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/stackato/stackato/wire/staging"
)

// looks is how often the used disk is looked at: at least looks.pause apart,
// and so that looking takes at most a twentieth of the time.
var looks = struct {
	pause time.Duration
	share float64
}{time.Second, 20}

// watchDisk ends the context when the build uses more disk than it may. The
// node's fence has its own limit, which is the wall; this one is a sentence.
func (b *Build) watchDisk(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	var done sync.WaitGroup
	done.Go(func() {
		for {
			began := time.Now()
			used := usage(ctx, b.Home) + usage(ctx, b.Temp)
			if used > b.diskMB()<<20 {
				cancel(b.diskFull())
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(max(looks.pause, time.Duration(looks.share*float64(time.Since(began))))):
			}
		}
	})
	return ctx, func() { cancel(nil); done.Wait() }
}

func (b *Build) diskFull() *BuildError {
	return failure(staging.ErrInsufficient,
		"Staging used more than its disk limit of %d MB; push less (.cfignore), or give the app more than that (cf push -k)", b.diskMB())
}

// usage returns the bytes that the files below dir take. What it cannot read
// it leaves out.
func usage(ctx context.Context, dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return filepath.SkipAll
		}
		if err != nil {
			return nil //nolint:nilerr // it may be gone by now
		}
		if info, err := d.Info(); err == nil {
			if s, ok := info.Sys().(*syscall.Stat_t); ok {
				sum += s.Blocks * 512
			}
		}
		return nil
	})
	return sum
}

// isFull reports whether there was no space left on a device.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// full turns "no space left on device" into a failure that says so.
func full(err error) error {
	var f *BuildError
	if errors.As(err, &f) || !isFull(err) {
		return err
	}
	return failure(staging.ErrInsufficient, "The disk of the staging container is full: %v", err)
}
