package apptail

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stackato/stackato/wire/logs"
)

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

// TestTailerRestartsBetweenStreams: the streams of a container reach Docker's file
// through two readers, each of which takes the time before it writes. What one
// stored late, with an older time, is not lost when reading begins anew.
func TestTailerRestartsBetweenStreams(t *testing.T) {
	for _, kill := range []bool{false, true} {
		t.Run(fmt.Sprintf("kill=%t", kill), func(t *testing.T) {
			e, dir := newEngine(), t.TempDir()
			e.update("c", func(*output) {}) // it exists
			at := time.Now().UnixNano()
			var want []string
			for i := range 20 {
				late := at - int64(7*time.Millisecond) + int64(i)
				for _, fr := range []frame{
					{at + int64(i), false, fmt.Appendf(nil, "out %d\n", i)},
					{late, true, fmt.Appendf(nil, "late %d\n", i)},
				} {
					e.update("c", func(o *output) { o.frames = append(o.frames, fr) })
					want = append(want, strings.TrimSpace(string(fr.data)))
					tl := tail(t, dir, e, nil) // another one for each frame
					if kill {
						tl.positions.path = dir + "/absent/positions.json"
					}
					tl.Follow(web("c"))
					waitFor(t, "line", func() bool { n, _ := countFrom(t, tl.store); return n == len(want) })
					tl.stop()
				}
			}
			tl := tail(t, dir, e, nil)
			tl.Follow(web("c"))
			e.end("c")
			finished(t, tl.Ended("c"))
			if _, got := countFrom(t, tl.store); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
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
