package apptail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stackato/stackato/wire/logs"
)

// tailing is a tailer that runs on a store.
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
