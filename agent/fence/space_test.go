package fence

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/staging"
)

func TestSpaceWatch(t *testing.T) {
	const gib = 1 << 30
	now := time.Unix(1e9, 0)
	var w spaceWatch
	for _, step := range []struct {
		what   string
		free   uint64
		after  time.Duration
		urgent bool
		took   time.Duration // of the round that follows, 0: none
	}{
		{"the first look", 64 * gib, 0, false, 0},
		{"a little less", 63 * gib, 0, false, 0},
		{"much less in all", 61 * gib, 0, true, time.Second},
		{"soon after a round", 50 * gib, 3 * time.Second, false, 0},
		{"the same later", 50 * gib, 2 * time.Second, true, time.Second},
		{"room comes back", 64 * gib, time.Minute, false, 0},
		{"and goes", 60 * gib, 0, true, time.Millisecond},
		{"nearly full", gib, time.Second, true, time.Millisecond},
		{"still", gib, time.Second, true, time.Millisecond},
	} {
		now = now.Add(step.after)
		s := Space{Free: step.free, Total: 100 * gib}
		if got := w.urgent(s, now); got != step.urgent {
			t.Errorf("%s: %v, want %v", step.what, got, step.urgent)
		}
		if step.took > 0 {
			w.measured(s, step.took, now)
		}
	}
}

// filling is a file system that fills up from the moment that full is set.
func filling(full *atomic.Bool) func() (Space, error) {
	return func() (Space, error) {
		if full.Load() {
			return Space{Free: 20 << 30, Total: 100 << 30}, nil
		}
		return Space{Free: 40 << 30, Total: 100 << 30}, nil
	}
}

// An app that writes quickly is ended long before its disk would be measured,
// at once.
func TestDiskIsFilledQuickly(t *testing.T) {
	var full atomic.Bool
	w := newWorld()
	w.app(t, "p1", func(s *instance.Spec) { s.DiskMB = 20 })
	n := startNode(t, w, func(c *Config) {
		c.Timing.Measure, c.Timing.Space, c.Timing.Linger = time.Hour, 20*time.Millisecond, time.Minute
		c.Space = filling(&full)
	})
	n.run("a1", instance.KindApp, "p1", "v1")
	n.awaitReady("a1")
	n.get("a1", "/write?mb=50")
	full.Store(true)
	await(t, "crash", func() bool { return n.status("a1").State == instance.Crashed })
	if s := n.status("a1"); !strings.HasPrefix(s.Reason, "disk limit exceeded: ") {
		t.Errorf("%+v", s)
	}
}

// The same of a build: it stands still while the controller is told why.
func TestBuildFillsTheDisk(t *testing.T) {
	var full atomic.Bool
	w := newWorld()
	w.builds["b1"] = staging.Spec{BuildGUID: "b1", Token: "t0ken", DiskMB: 5}
	n := startNode(t, w, func(c *Config) {
		c.Timing.Measure, c.Timing.Space = time.Hour, 20*time.Millisecond
		c.Space = filling(&full)
	})
	id := n.fill("b1")
	await(t, "10 MB", func() bool {
		used, err := n.cfg.Engine.written(t.Context(), id)
		return err == nil && used > 8<<20 && len(n.staging()) == 1
	})
	full.Store(true)
	await(t, "report", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.results) == 1 })
	if got := w.results[0]; !strings.Contains(got.Detail, "disk limit exceeded") {
		t.Errorf("%+v", got)
	}
	await(t, "an end", func() bool { return len(n.staging()) == 0 })
}
