package apptail

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"
)

// Source gives the output of containers.
type Source interface {
	// Logs streams what a container writes, from the lines with the time since
	// on, until the container has ended, ctx is done or the stream is closed. It
	// is Docker's format: multiplexed frames, each with a time stamp. An error
	// that wraps fs.ErrNotExist means that there is no such container.
	Logs(ctx context.Context, container string, since time.Time) (io.ReadCloser, error)
}

// Container is what the lines of a container are stored as.
type Container struct {
	ID         string // of the container
	AppGUID    string
	SourceType string // logs.SourceStaging, "APP/PROC/WEB", "APP/TASK/name"
	InstanceID string // the index
	// RateBytes is how many bytes of log a second are kept: -1 all of them, 0
	// none. Of lines beyond that one line says how many there were.
	RateBytes int64
}

// Config configures a [Tailer]. Store, Source and Dir are needed.
type Config struct {
	Store  *Store
	Source Source
	Dir    string       // exists; holds a small file with the places in the output of containers
	Log    *slog.Logger // default: discarded

	// The following have defaults that only tests change.
	FlushAfter  time.Duration // a line without end is stored as it is; 1 s
	ReportAfter time.Duration // between two lines that say what was dropped; 1 s
	SaveEvery   time.Duration // places are written to disk; 2 s
	RetryAfter  time.Duration // a stream that broke is opened again; 1 s, growing to 15 s
	// LinesPerSecond is how fast the output of one container is read; 10,000.
	LinesPerSecond int
	DrainWithin    time.Duration // silence after which a stream of an ended container that stays open is complete; 10 s
}

// Tailer follows the output of containers into a store. It may be used
// concurrently. After a restart it goes on where it stopped: each line of a
// container that is still there is stored once.
type Tailer struct {
	cfg       Config
	positions *positions

	mu        sync.Mutex
	followers map[string]*follower // by container
	waiting   []*follower          // not started yet
	wake      chan struct{}
}

// New makes a Tailer. Nothing is followed before Run.
func New(cfg Config) (*Tailer, error) {
	if cfg.Store == nil || cfg.Source == nil || cfg.Dir == "" {
		return nil, errors.New("apptail: a tailer needs a store, a source and a folder")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.FlushAfter = cmp.Or(cfg.FlushAfter, time.Second)
	cfg.ReportAfter = cmp.Or(cfg.ReportAfter, time.Second)
	cfg.SaveEvery = cmp.Or(cfg.SaveEvery, 2*time.Second)
	cfg.RetryAfter = cmp.Or(cfg.RetryAfter, time.Second)
	cfg.LinesPerSecond = cmp.Or(cfg.LinesPerSecond, 10_000)
	cfg.DrainWithin = cmp.Or(cfg.DrainWithin, 10*time.Second)
	return &Tailer{
		cfg: cfg, positions: loadPositions(positionsPath(cfg.Dir)),
		followers: map[string]*follower{}, wake: make(chan struct{}, 1),
	}, nil
}

// Run follows containers until ctx is done. What was read by then is stored.
// It must be called once.
func (t *Tailer) Run(ctx context.Context) error {
	save := time.NewTicker(t.cfg.SaveEvery)
	defer save.Stop()
	var running sync.WaitGroup
	defer func() {
		running.Wait()
		t.save()
	}()
	for {
		for _, f := range t.take() {
			running.Go(func() {
				defer t.forget(f)
				f.run(ctx)
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.wake:
		case <-save.C:
			t.save()
		}
	}
}

func (t *Tailer) save() {
	if err := t.positions.save(time.Now()); err != nil {
		t.cfg.Log.Warn("places in the output of containers are not saved", "error", err)
	}
}

// Follow begins to store the output of a container. One that is followed
// already is left as it is. It does not block.
func (t *Tailer) Follow(c Container) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.followers[c.ID] != nil {
		return
	}
	f := newFollower(t, c)
	t.followers[c.ID] = f
	t.waiting = append(t.waiting, f)
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// SetRate changes how many bytes of log a second are kept of a container, see
// [Container]. What an instance may write is known later than its container.
func (t *Tailer) SetRate(container string, bytesPerSecond int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.followers[container]; f != nil {
		f.rate.Store(bytesPerSecond)
	}
}

// Written returns how many bytes of log a container has written since it is
// followed, those included that were dropped; 0 if it is not.
func (t *Tailer) Written(container string) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.followers[container]; f != nil {
		return f.written.Load()
	}
	return 0
}

// Ended says that a container has ended: its output is read to the end and then
// no longer followed. The channel is closed when every line is stored, or
// when Run ends; until then the container should not be removed.
func (t *Tailer) Ended(container string) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.followers[container]
	if f == nil {
		done := make(chan struct{})
		close(done)
		return done
	}
	f.endOnce.Do(func() { close(f.ended) })
	return f.done
}

// take returns the followers that are to be started.
func (t *Tailer) take() []*follower {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := t.waiting
	t.waiting = nil
	return out
}

func (t *Tailer) forget(f *follower) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.followers, f.ID)
	close(f.done)
}
