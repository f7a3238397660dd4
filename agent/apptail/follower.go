package apptail

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stackato/stackato/wire/logs"
)

// endAttempts is how often the output of an ended container is asked for.
const endAttempts = 5

// openWithin is how long the source may take to begin an answer.
const openWithin = 30 * time.Second

// follower stores the output of one container. Its fields belong to run, but
// for those that are safe to share.
type follower struct {
	Container
	tailer *Tailer
	source uint64

	rate    atomic.Int64 // bytes a second that are kept, as SetRate says
	written atomic.Int64 // bytes of all lines, those dropped included
	endOnce sync.Once
	ended   chan struct{} // closed when the container has ended
	done    chan struct{} // closed when all is stored

	at       position // behind the last whole lines
	read     places   // behind the last frames
	lines    [streams]partial
	throttle throttle
	pace     pace
	failed   bool // the last line could not be stored
}

func newFollower(t *Tailer, c Container) *follower {
	f := &follower{
		Container: c, tailer: t, source: sourceOf(c.ID), throttle: newThrottle(c.RateBytes), pace: newPace(t.cfg.LinesPerSecond),
		ended: make(chan struct{}), done: make(chan struct{}),
	}
	f.rate.Store(c.RateBytes)
	return f
}

// run follows the container until it has ended and all is stored, or ctx is
// done.
func (f *follower) run(ctx context.Context) {
	defer f.finish()
	if err := f.resume(); err != nil {
		f.tailer.cfg.Log.Warn("where the log of a container was read to is not known: lines may appear twice", "container", f.ID, "error", err)
	}
	pause, attempts := f.tailer.cfg.RetryAfter, 0
	for ctx.Err() == nil {
		wasEnded := f.hasEnded()
		before := f.read
		err := f.follow(ctx)
		if f.read != before {
			pause = f.tailer.cfg.RetryAfter
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return
		case wasEnded && err == nil:
			return
		case wasEnded:
			if attempts++; attempts == endAttempts {
				f.tailer.cfg.Log.Warn("the last log lines of a container could not be read", "container", f.ID, "app", f.AppGUID, "error", err)
				return
			}
		}
		// The stream also ends when the engine stops, and before Ended is called.
		// It is asked again then: the rest, if any, comes.
		if !f.hasEnded() || err != nil {
			f.wait(ctx, pause)
			pause = min(2*pause, 15*time.Second)
		}
	}
}

// wait pauses, with jitter, until the container has ended.
func (f *follower) wait(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause/2 + rand.N(pause/2+1))
	defer timer.Stop()
	ended := f.ended
	if f.hasEnded() {
		ended = nil
	}
	select {
	case <-ctx.Done():
	case <-ended:
	case <-timer.C:
	}
}

func (f *follower) hasEnded() bool {
	select {
	case <-f.ended:
		return true
	default:
		return false
	}
}

// resume finds where to go on: the place on file, or behind newer lines in the
// store, written after the file was.
func (f *follower) resume() error {
	f.at = f.tailer.positions.get(f.ID)
	newer, stored, err := f.tailer.cfg.Store.lastPlaces(f.AppGUID, f.source, f.at.Stored)
	if err != nil {
		return err
	}
	for i, p := range newer {
		if p.Time != 0 {
			f.at.Streams[i] = p
		}
	}
	f.at.Stored = max(f.at.Stored, stored)
	f.read = f.at.Streams
	return nil
}

// follow reads one stream to its end. It returns nil if the stream ended by
// itself, as it does with the container.
func (f *follower) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.AfterFunc(openWithin, cancel)
	stream, err := f.tailer.cfg.Source.Logs(ctx, f.ID, f.read.since())
	if err != nil {
		return err
	}
	late.Stop()
	frames, result := make(chan frame, 64), make(chan error, 1)
	go func() {
		defer close(frames)
		result <- readFrames(ctx, stream, frames)
	}()
	defer func() {
		cancel()
		stream.Close()
		for range frames { // the reader ends now
			continue
		}
	}()

	again := repeats{read: f.read}
	tick := time.NewTimer(time.Hour)
	defer tick.Stop()
	for {
		tick.Reset(f.nextTick())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case fr, ok := <-frames:
			if !ok {
				return <-result
			}
			if again.has(fr) {
				continue
			}
			f.add(fr)
			if f.pace.hold(ctx, fr, f.ended) && f.pace.tell(time.Now()) {
				f.store(fmt.Appendf(nil, "app instance writes more than the %d lines a second that are read: lines may be lost", f.tailer.cfg.LinesPerSecond), 0, true)
			}
		case <-f.endedUnlessSilent():
			// Seen below: the timer runs for DrainWithin from now on.
		case <-tick.C:
			if !f.flush(time.Now(), false) && f.hasEnded() {
				return nil // silent: the engine keeps the stream of an ended container open
			}
		}
	}
}

// endedUnlessSilent wakes follow when the container ends, once: then its
// timer takes over.
func (f *follower) endedUnlessSilent() <-chan struct{} {
	if f.hasEnded() {
		return nil
	}
	return f.ended
}

// nextTick is how long follow may wait for a frame before it has to flush.
func (f *follower) nextTick() time.Duration {
	next := time.Hour
	if f.hasEnded() {
		next = f.tailer.cfg.DrainWithin
	}
	now := time.Now()
	for i := range f.lines {
		if l := &f.lines[i]; !l.empty() {
			next = min(next, l.begun.Add(f.tailer.cfg.FlushAfter).Sub(now))
		}
	}
	if f.throttle.dropped > 0 {
		next = min(next, f.throttle.since.Add(f.tailer.cfg.ReportAfter).Sub(now))
	}
	return max(next, time.Millisecond)
}

// readFrames sends frames until the stream or ctx ends.
func readFrames(ctx context.Context, stream io.Reader, frames chan<- frame) error {
	r := bufio.NewReaderSize(stream, 32<<10)
	for {
		fr, err := readFrame(r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case frames <- fr:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// add takes a frame in.
func (f *follower) add(fr frame) {
	now := time.Now()
	i := streamOf(fr.err)
	f.read[i].pass(fr)
	f.lines[i].add(fr, now)
	if fr.whole() {
		f.end(i, now)
	}
	f.flush(now, false)
}

// end stores the line of a stream as it is now.
func (f *follower) end(i int, now time.Time) {
	message, at := f.lines[i].take()
	f.at.Streams[i] = f.read[i]
	f.written.Add(int64(len(message)) + 1)
	if r := f.rate.Load(); r != f.RateBytes {
		f.RateBytes = r
		f.throttle.limiter = newThrottle(r).limiter
	}
	if f.throttle.admit(at, len(message), now) {
		f.store(message, at, i == 1)
	}
	f.at.Used = now.UnixNano()
	f.tailer.positions.set(f.ID, f.at)
}

// flush stores lines that waited for their end for too long, and says what was
// dropped; with all, whatever there is. It says whether there was any.
func (f *follower) flush(now time.Time, all bool) (stored bool) {
	for i := range f.lines {
		if l := &f.lines[i]; !l.empty() && (all || now.Sub(l.begun) >= f.tailer.cfg.FlushAfter) {
			f.end(i, now)
			stored = true
		}
	}
	if n := f.throttle.dropped; n > 0 && (all || now.Sub(f.throttle.since) >= f.tailer.cfg.ReportAfter) {
		f.throttle.dropped = 0
		f.store(fmt.Appendf(nil, "app instance exceeded log rate limit (%d bytes/sec): %d lines dropped", f.RateBytes, n), 0, true)
		stored = true
	}
	return stored
}

// finish stores what is left when nothing more is read.
func (f *follower) finish() { f.flush(time.Now(), true) }

// store appends a line; a Time of zero is now. A store that fails is logged
// once until it works again: the app must not wait for it.
func (f *follower) store(message []byte, at int64, isErr bool) {
	stored, err := f.tailer.cfg.Store.append(logs.Line{
		Time: at, AppGUID: f.AppGUID, SourceType: f.SourceType, InstanceID: f.InstanceID, Err: isErr, Message: message,
	}, origin{f.source, f.at.Streams[streamOf(isErr)]})
	if err != nil {
		if !f.failed {
			f.tailer.cfg.Log.Warn("log lines are lost", "container", f.ID, "app", f.AppGUID, "error", err)
		}
		f.failed = true
		return
	}
	f.failed, f.at.Stored = false, stored
}
