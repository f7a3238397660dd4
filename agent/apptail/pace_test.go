package apptail

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stackato/stackato/wire/logs"
)

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(10)
		begun := time.Now()
		for range 150 { // 50 at once
			p.hold(t.Context(), frame{data: []byte("x\n")}, nil)
		}
		if took := time.Since(begun); took < 10*time.Second-paceNap || took > 10*time.Second+paceNap {
			t.Errorf("150 lines took %v, want 10 s", took)
		}
		begun = time.Now()
		for range 10 {
			p.hold(t.Context(), frame{data: make([]byte, 9*paceBytes)}, nil)
		}
		if took := time.Since(begun); took < 10*time.Second-paceNap || took > 10*time.Second+paceNap {
			t.Errorf("10 frames of 10 lines' weight took %v, want 10 s", took)
		}
		p.hold(t.Context(), frame{data: make([]byte, maxFrame)}, nil) // dearer than can ever be saved up

		gone, cancel := context.WithCancel(t.Context())
		cancel()
		ended := make(chan struct{})
		close(ended)
		begun = time.Now()
		for range 100 {
			p.hold(gone, frame{}, nil)
			p.hold(t.Context(), frame{}, ended)
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("what ends is held back for %v", took)
		}
	})
}

// TestTailerReadsAtItsPace: and all that is left once the container has ended.
func TestTailerReadsAtItsPace(t *testing.T) {
	e := newEngine()
	tl := tail(t, t.TempDir(), e, func(c *Config) { c.LinesPerSecond = 1 })
	const lines = 500
	for range lines {
		e.write("c1", "x\n")
	}
	begun := time.Now()
	tl.Follow(web("c1"))
	read := func() int { return int(tl.Written("c1")) / 2 }
	waitFor(t, "line after the first ones", func() bool { return read() >= 2*paceBurst-3 })
	if most := paceBurst + 1 + int(time.Since(begun)/time.Second); read() > most {
		t.Errorf("%d lines were read in %v, at most %d may be", read(), time.Since(begun), most)
	}
	e.end("c1")
	finished(t, tl.Ended("c1"))
	all, err := tl.store.Read(t.Context(), logs.ReadRequest{AppGUID: app})
	told := slices.IndexFunc(all.Lines, func(l logs.Line) bool {
		return string(l.Message) == "app instance writes more than the 1 lines a second that are read: lines may be lost"
	})
	if err != nil || len(all.Lines) != lines+1 || told <= paceBurst {
		t.Errorf("%d lines of %d were kept, and line %d says that it may be fewer, %v", len(all.Lines)-1, lines, told, err)
	}
}
