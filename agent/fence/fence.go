package fence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stackato/stackato/wire/instance"
)

// Fence cares for the containers of apps, tasks and builds of one node: it
// hands them what they are started from, watches and checks them, and tells
// controllers their states. It may be used concurrently.
type Fence struct {
	cfg     Config
	table   *table
	specs   *specStore
	blobs   *blobStore
	mounted string // the directory that is mounted into containers

	mu       sync.Mutex
	builds   map[string]build // by container
	observes map[string]bool  // containers that the observer knows

	rootDir string // of the engine, once measure knows it

	// base outlives requests: downloads and checks belong to it. It is set
	// by Run before anything uses it.
	base  context.Context
	began time.Time      // of Run
	tasks sync.WaitGroup // checks and stops that run in base
}

// New makes a Fence and its directories, and copies the programs. It starts
// nothing and does not speak to the engine: the mounted directory must be
// there before Nomad's client starts.
func New(cfg Config) (*Fence, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	f := &Fence{
		cfg: cfg, table: newTable(cfg), mounted: Mounted(cfg.Dir),
		builds: map[string]build{}, observes: map[string]bool{}, base: context.Background(),
	}
	err := errors.Join(
		os.MkdirAll(cfg.Dir, 0o711),
		makeDir(f.mounted, 0o755),
		makeDir(filepath.Join(f.mounted, "bin"), 0o755),
		makeDir(filepath.Join(f.mounted, "run"), 0o700),
	)
	if err != nil {
		return nil, fmt.Errorf("fence: %w", err)
	}
	for _, name := range cfg.Programs {
		if err := install(name, filepath.Join(f.mounted, "bin")); err != nil {
			return nil, fmt.Errorf("fence: program for containers: %w", err)
		}
	}
	if f.specs, err = openSpecs(filepath.Join(cfg.Dir, "specs"), filepath.Join(cfg.Dir, "key")); err != nil {
		return nil, fmt.Errorf("fence: %w", err)
	}
	if f.blobs, err = openBlobs(filepath.Join(cfg.Dir, "blobs"), cfg.CacheBytes); err != nil {
		return nil, fmt.Errorf("fence: %w", err)
	}
	if err := f.loadCrashes(); err != nil {
		return nil, fmt.Errorf("fence: %w", err)
	}
	return f, nil
}

// Mounted is the directory below fence's own that is mounted into containers,
// read-only, as /stackato.
func Mounted(dir string) string { return filepath.Join(dir, "public") }

// Run serves the socket, follows the engine and keeps house until ctx ends. It
// returns nil then, or the error that made it impossible. Containers run on.
func (f *Fence) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	f.base, f.began = ctx, f.cfg.Now()
	f.specs.base, f.blobs.base = ctx, ctx
	listener, err := f.listen()
	if err != nil {
		return err
	}
	group.Go(func() error { return f.serve(ctx, listener) })
	group.Go(func() error { return f.follow(ctx) })
	group.Go(func() error { return f.keepHouse(ctx) })
	group.Go(func() error { return f.measure(ctx) })
	group.Go(func() error { return f.watchImages(ctx) })
	if f.cfg.Guard != nil {
		group.Go(func() error { return f.cfg.Guard.Run(ctx) })
	}
	err = group.Wait()
	f.tasks.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Watch sends the states of all instances and tasks, then changes, until ctx
// or send ends it, whose error it returns. It waits with the first message
// until the engine has said what runs. A task that ended stays in snapshots
// for an hour, with the state Gone and its exit status.
func (f *Fence) Watch(ctx context.Context, send func(instance.Report) error) error {
	return f.table.watch(ctx, send)
}

var errNotListed = fmt.Errorf("%w: it has not yet said what runs", ErrUnreachable)

// Listed waits until the engine has said what runs, so that Stats are
// complete, or until ctx is done.
func (f *Fence) Listed(ctx context.Context) error {
	select {
	case <-f.table.listed:
		return nil
	case <-ctx.Done():
		return errNotListed
	}
}

// Stats returns all instances and tasks with what they used when they were
// measured last.
func (f *Fence) Stats() []instance.Status { return f.table.all() }

// makeDir makes a directory with a mode, whatever the umask.
func makeDir(path string, mode os.FileMode) error {
	if err := os.MkdirAll(path, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// install copies a program into a directory unless it is there already. One
// that runs keeps its file.
func install(name, dir string) error {
	target := filepath.Join(dir, filepath.Base(name))
	if same, err := sameContent(name, target); err != nil || same {
		return err
	}
	from, err := os.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(to.Name())
	defer to.Close()
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	if err := errors.Join(to.Chmod(0o755), to.Sync(), to.Close()); err != nil {
		return err
	}
	return os.Rename(to.Name(), target)
}

// sameContent reports whether b exists and equals a, which must exist.
func sameContent(a, b string) (bool, error) {
	first, err := os.Open(a)
	if err != nil {
		return false, err
	}
	defer first.Close()
	second, err := os.Open(b)
	if err != nil {
		return false, nil // to be copied, which will tell what is wrong
	}
	defer second.Close()
	for x, y := make([]byte, 64<<10), make([]byte, 64<<10); ; {
		n, errX := io.ReadFull(first, x)
		m, errY := io.ReadFull(second, y)
		if n != m || !bytes.Equal(x[:n], y[:m]) {
			return false, nil
		}
		if errX != nil || errY != nil {
			return errors.Is(errX, io.EOF) || errors.Is(errX, io.ErrUnexpectedEOF), nil
		}
	}
}

// cell writes a line of the node into an app's log.
func (f *Fence) cell(c Container, format string, args ...any) {
	f.cfg.Log(c.AppGUID, "CELL", c.index(), fmt.Sprintf(format, args...))
}

// spawn runs something that belongs to Run and not to a request.
func (f *Fence) spawn(within time.Duration, do func(context.Context)) {
	f.tasks.Add(1)
	go func() {
		defer f.tasks.Done()
		ctx := f.base
		if within > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, within)
			defer cancel()
		}
		do(ctx)
	}()
}
