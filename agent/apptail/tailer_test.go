package apptail

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stackato/stackato/wire/logs"
)

// engine is a Source that holds the output of containers as Docker does.
type engine struct {
	mu         sync.Mutex
	changed    *sync.Cond
	containers map[string]*output
}

type output struct {
	frames []frame
	ended  bool
	hangs  bool // the stream of the ended container stays open
	opened int
}

func newEngine() *engine {
	e := &engine{containers: map[string]*output{}}
	e.changed = sync.NewCond(&e.mu)
	return e
}

func (e *engine) update(id string, f func(o *output)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.containers[id] == nil {
		e.containers[id] = &output{}
	}
	f(e.containers[id])
	e.changed.Broadcast()
}

// write adds frames with times of their own.
func (e *engine) write(id string, texts ...string) {
	e.update(id, func(o *output) {
		for _, text := range texts {
			o.frames = append(o.frames, frame{time: time.Now().UnixNano() + int64(len(o.frames)), data: []byte(text)})
		}
	})
}

func (e *engine) end(id string) { e.update(id, func(o *output) { o.ended = true }) }

func (e *engine) Logs(ctx context.Context, id string, since time.Time) (io.ReadCloser, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	o := e.containers[id]
	if o == nil {
		return nil, fmt.Errorf("container %s: %w", id, fs.ErrNotExist)
	}
	o.opened++
	r, w := io.Pipe()
	stop := context.AfterFunc(ctx, func() {
		w.CloseWithError(ctx.Err())
		e.mu.Lock()
		defer e.mu.Unlock()
		e.changed.Broadcast()
	})
	go func() {
		defer stop()
		e.mu.Lock()
		defer e.mu.Unlock()
		for i := 0; ctx.Err() == nil; {
			if i == len(o.frames) {
				if o.ended && !o.hangs {
					w.Close()
					return
				}
				e.changed.Wait()
				continue
			}
			f := o.frames[i]
			i++
			if !since.IsZero() && f.time < since.UnixNano() {
				continue
			}
			e.mu.Unlock()
			_, err := w.Write(encodeFrame(f))
			e.mu.Lock()
			if err != nil {
				return
			}
		}
	}()
	return r, nil
}

func encodeFrame(f frame) []byte {
	text := slices.Concat([]byte(time.Unix(0, f.time).UTC().Format("2006-01-02T15:04:05.000000000Z07:00 ")), f.data)
	b := []byte{1, 0, 0, 0, 0, 0, 0, 0}
	if f.err {
		b[0] = 2
	}
	binary.BigEndian.PutUint32(b[4:], uint32(len(text)))
	return append(b, text...)
}

// node is a tailer that runs on a store.
type tailing struct {
	*Tailer
	store *Store
	stop  func()
}

func tail(t *testing.T, dir string, e *engine, change func(*Config)) tailing {
	t.Helper()
	store := openStore(t, StoreConfig{Dir: dir + "/store"})
	cfg := Config{
		Store: store, Source: e, Dir: dir, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		FlushAfter: 20 * time.Millisecond, ReportAfter: 20 * time.Millisecond,
		RetryAfter: 5 * time.Millisecond, SaveEvery: 10 * time.Millisecond,
	}
	if change != nil {
		change(&cfg)
	}
	tl, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- tl.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return tailing{tl, store, stop}
}

func web(id string) Container {
	return Container{ID: id, AppGUID: app, SourceType: "APP/PROC/WEB", InstanceID: "0", RateBytes: -1}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s", what)
		}
	}
}

func finished(t *testing.T, ended <-chan struct{}) {
	t.Helper()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the output of an ended container is never complete")
	}
}

func TestTailerStoresLines(t *testing.T) {
	e := newEngine()
	tl := tail(t, t.TempDir(), e, nil)
	at := time.Now().Add(-time.Minute).UnixNano()
	e.update("c1", func(o *output) {
		o.frames = []frame{
			{at, false, []byte("out\n")},
			{at + 5, true, []byte("err\r\n")},
			{at + 6, false, []byte("\n")},
		}
		o.ended = true
	})
	tl.Follow(web("c1"))
	tl.Follow(web("c1"))
	finished(t, tl.Ended("c1"))
	want := []logs.Line{
		{Time: at, AppGUID: app, SourceType: "APP/PROC/WEB", InstanceID: "0", Message: []byte("out")},
		{Time: at + 5, AppGUID: app, SourceType: "APP/PROC/WEB", InstanceID: "0", Err: true, Message: []byte("err")},
		{Time: at + 6, AppGUID: app, SourceType: "APP/PROC/WEB", InstanceID: "0", Message: []byte{}},
	}
	got := read(t, tl.store, logs.ReadRequest{})
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	finished(t, tl.Ended("never seen"))
	tl.Follow(web("absent"))
	finished(t, tl.Ended("absent"))
}

func TestTailerJoinsAndFlushesParts(t *testing.T) {
	e := newEngine()
	tl := tail(t, t.TempDir(), e, func(c *Config) { c.FlushAfter = time.Hour })
	long := strings.Repeat("x", 16<<10)
	e.update("joined", func(o *output) {
		at := time.Now().UnixNano()
		o.frames = []frame{
			{at, false, []byte(long)},
			{at, false, []byte(long)},
			{at + 1, true, []byte("between\n")},
			{at, false, []byte("end\n")},
		}
		for range 10 { // a line of 160 KiB
			o.frames = append(o.frames, frame{at + 2, false, []byte(long)})
		}
		o.frames = append(o.frames, frame{at + 2, false, []byte("\n")}, frame{at + 3, false, []byte("no newline")})
		o.ended = true
	})
	tl.Follow(web("joined"))
	finished(t, tl.Ended("joined"))
	got := messages(read(t, tl.store, logs.ReadRequest{}))
	if len(got) != 4 || got[0] != "between" || got[1] != long+long+"end" || got[3] != "no newline" {
		t.Fatalf("%d lines: %.50q", len(got), got)
	}
	if kept, mark, _ := strings.Cut(got[2], " ["); len(got[2]) > logs.MaxLine || mark != fmt.Sprintf("… %d bytes cut]", 160<<10-len(kept)) {
		t.Errorf("a line of 160 KiB has %d bytes, mark %q", len(got[2]), mark)
	}

	flushing := tail(t, t.TempDir(), e, nil)
	e.write("partial", "begin")
	flushing.Follow(web("partial"))
	waitFor(t, "line without end", func() bool { return len(read(t, flushing.store, logs.ReadRequest{})) == 1 })
	e.write("partial", " rest\n")
	waitFor(t, "rest of the line", func() bool { return len(read(t, flushing.store, logs.ReadRequest{})) == 2 })
}

// TestTailerRestarts stops and starts while a container writes: every line is
// stored once. A stop saves the places; a kill does not, then the store tells.
func TestTailerRestarts(t *testing.T) {
	for _, kill := range []bool{false, true} {
		t.Run(fmt.Sprintf("kill=%t", kill), func(t *testing.T) {
			e, dir := newEngine(), t.TempDir()
			const total = 2000
			e.write("c") // it exists
			var writer sync.WaitGroup
			writer.Go(func() {
				at := time.Now().UnixNano()
				for i := range total {
					e.update("c", func(o *output) { // pairs have one time, as parts do
						o.frames = append(o.frames, frame{at + int64(i/2), false, fmt.Appendf(nil, "%d\n", i)})
					})
					if i%50 == 0 {
						time.Sleep(time.Millisecond)
					}
				}
				e.end("c")
			})
			seen := 0
			for seen < total*3/4 {
				tl := tail(t, dir, e, func(c *Config) {
					if kill {
						c.SaveEvery = time.Hour
					}
				})
				if kill {
					tl.positions.path = dir + "/absent/positions.json"
				}
				tl.Follow(web("c"))
				waitFor(t, "progress", func() bool {
					n, _ := countFrom(t, tl.store)
					return n > seen+100 || n == total
				})
				tl.stop()
				seen, _ = countFrom(t, tl.store)
			}
			tl := tail(t, dir, e, nil)
			tl.Follow(web("c"))
			writer.Wait()
			finished(t, tl.Ended("c"))
			tl.Follow(web("c")) // as after another restart
			finished(t, tl.Ended("c"))
			n, got := countFrom(t, tl.store)
			for i, m := range got {
				if m != fmt.Sprint(i) {
					t.Fatalf("line %d is %q", i, m)
				}
			}
			if n != total {
				t.Errorf("%d lines, want %d", n, total)
			}
		})
	}
}

func countFrom(t *testing.T, s *Store) (int, []string) {
	t.Helper()
	var out []string
	for start := int64(0); ; {
		lines := read(t, s, logs.ReadRequest{Start: start})
		if len(lines) == 0 {
			return len(out), out
		}
		out = append(out, messages(lines)...)
		start = lines[len(lines)-1].Time + 1
	}
}

// TestTailerPlaceOnFile: other lines of the app have pushed out those of a
// quiet container; the file still says how far it was read.
func TestTailerPlaceOnFile(t *testing.T) {
	e, dir := newEngine(), t.TempDir()
	tl := tail(t, dir, e, nil)
	e.write("quiet", "one\n", "two\n")
	tl.Follow(web("quiet"))
	waitFor(t, "lines", func() bool { n, _ := countFrom(t, tl.store); return n == 2 })
	tl.stop()
	tl.store.mu.Lock()
	r := tl.store.rings[app]
	tl.store.mu.Unlock()
	r.mu.Lock()
	tl.store.drop(r)
	r.mu.Unlock()

	again := tail(t, dir, e, nil)
	e.write("quiet", "three\n")
	again.Follow(web("quiet"))
	e.end("quiet")
	finished(t, again.Ended("quiet"))
	if _, got := countFrom(t, again.store); !slices.Equal(got, []string{"three"}) {
		t.Errorf("%q", got)
	}
}

func TestTailerRate(t *testing.T) {
	e := newEngine()
	tl := tail(t, t.TempDir(), e, nil)
	for _, c := range []struct {
		rate     int64
		min, max int
	}{{-1, 500, 500}, {0, 0, 0}, {1000, 60, 63}} { // the bucket holds one line of full length, 60 lines here
		id := fmt.Sprint("rate", c.rate)
		at := time.Now().UnixNano()
		e.update(id, func(o *output) {
			for i := range 500 {
				o.frames = append(o.frames, frame{at + int64(i), false, append(bytes.Repeat([]byte("x"), 1<<10), '\n')})
			}
			o.ended = true
		})
		tl.Follow(Container{ID: id, AppGUID: id, SourceType: "APP/PROC/WEB", RateBytes: c.rate})
		finished(t, tl.Ended(id))
		kept, told := 0, 0
		for _, l := range read(t, tl.store, logs.ReadRequest{AppGUID: id}) {
			var rate, dropped int
			if n, _ := fmt.Sscanf(string(l.Message), "app instance exceeded log rate limit (%d bytes/sec): %d lines dropped", &rate, &dropped); n == 2 {
				told += dropped
				if !l.Err || int64(rate) != c.rate {
					t.Errorf("%+v", l)
				}
			} else {
				kept++
			}
		}
		if kept < c.min || kept > c.max || kept+told != 500 {
			t.Errorf("limit %d: %d lines are kept and %d are said to be dropped, of 500", c.rate, kept, told)
		}
	}
}

func TestTailerSetRate(t *testing.T) {
	e := newEngine()
	tl := tail(t, t.TempDir(), e, nil)
	e.write("c", "kept\n")
	tl.Follow(web("c"))
	waitFor(t, "line", func() bool { return tl.Written("c") == 5 })
	tl.SetRate("c", 0)
	e.write("c", "dropped\n")
	waitFor(t, "report", func() bool {
		got := messages(read(t, tl.store, logs.ReadRequest{}))
		return len(got) > 1 && strings.HasPrefix(got[1], "app instance exceeded log rate limit (0 bytes/sec)")
	})
	tl.SetRate("c", -1)
	e.write("c", "again\n")
	e.end("c")
	if n := tl.Written("c"); n < 5+8 {
		t.Errorf("%d bytes are said to be written", n)
	}
	finished(t, tl.Ended("c"))
	got := messages(read(t, tl.store, logs.ReadRequest{}))
	if got[0] != "kept" || got[len(got)-1] != "again" || slices.Contains(got, "dropped") {
		t.Errorf("%q", got)
	}
	tl.SetRate("absent", 1)
	if n := tl.Written("absent"); n != 0 {
		t.Errorf("%d bytes of a container that is not there", n)
	}
}

func TestTailerSaysWhatWasDroppedInTime(t *testing.T) {
	e := newEngine()
	tl := tail(t, t.TempDir(), e, nil)
	c := web("c")
	c.RateBytes = 0
	e.write("c", "x\n", "x\n")
	tl.Follow(c)
	waitFor(t, "report", func() bool { return len(read(t, tl.store, logs.ReadRequest{})) > 0 })
}

// TestTailerEnginesTrouble: streams that break are opened again, an ended
// container whose stream stays open does not hold things up.
func TestTailerEnginesTrouble(t *testing.T) {
	e := newEngine()
	flaky := &flakySource{Source: e}
	tl := tail(t, t.TempDir(), e, func(c *Config) { c.Source, c.DrainWithin = flaky, 100*time.Millisecond })
	for i := range 40 {
		e.write("c", fmt.Sprintf("%d\n", i))
	}
	tl.Follow(web("c"))
	waitFor(t, "lines over broken streams", func() bool { n, _ := countFrom(t, tl.store); return n == 40 })
	e.update("c", func(o *output) { o.ended, o.hangs = true, true })
	finished(t, tl.Ended("c"))
	if _, got := countFrom(t, tl.store); len(got) != 40 || got[39] != "39" {
		t.Errorf("%q", got)
	}
}

// flakySource breaks each of the first streams after some bytes, and refuses
// every second call.
type flakySource struct {
	Source
	mu    sync.Mutex
	calls int
}

func (f *flakySource) Logs(ctx context.Context, id string, since time.Time) (io.ReadCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls++; f.calls > 12 {
		return f.Source.Logs(ctx, id, since)
	}
	if f.calls%2 == 0 {
		return nil, errors.New("the engine is away")
	}
	r, err := f.Source.Logs(ctx, id, since)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(r, int64(200+31*f.calls)), r}, nil
}

func FuzzFrames(f *testing.F) {
	f.Add(encodeFrame(frame{time.Now().UnixNano(), true, []byte("line\n")}))
	f.Add([]byte{3, 0, 0, 0, 0, 0, 0, 2, 'x', 'y'})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		for {
			fr, err := readFrame(r)
			if err != nil {
				return
			}
			if len(fr.data) > maxFrame {
				t.Fatal("a frame without bound")
			}
		}
	})
}
