package fence

import (
	"os/exec"
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
	w := newSpaceWatch()
	for _, step := range []struct {
		what   string
		free   uint64
		after  time.Duration
		urgent bool
		took   time.Duration // of the round that follows, 0: none
		failed bool          // it could not measure all
	}{
		{"the first look", 64 * gib, 0, false, 0, false},
		{"a little less", 63 * gib, 0, false, 0, false},
		{"much less in all", 61 * gib, 0, true, time.Second, false},
		{"soon after a round", 50 * gib, 3 * time.Second, false, 0, false},
		{"the same later", 50 * gib, 2 * time.Second, true, time.Second, false},
		{"less again", 47 * gib, time.Minute, true, time.Second, true},
		{"soon after a round that failed", 47 * gib, 3 * time.Second, false, 0, false},
		{"later", 47 * gib, 2 * time.Second, true, time.Second, false},
		{"the same", 47 * gib, time.Minute, false, 0, false},
		{"room comes back", 64 * gib, time.Minute, false, 0, false},
		{"and goes", 60 * gib, 0, true, time.Millisecond, false},
		{"nearly full", gib, time.Second, true, time.Millisecond, false},
		{"still", gib, time.Second, true, time.Millisecond, false},
	} {
		now = now.Add(step.after)
		s := Space{Free: step.free, Total: 100 * gib}
		if got := w.urgent(s, now); got != step.urgent {
			t.Errorf("%s: %v, want %v", step.what, got, step.urgent)
		}
		if step.took > 0 {
			w.measured(s, step.took, now, !step.failed)
		}
	}
}

// A file system runs out of files as well.
func TestSpaceWatchFiles(t *testing.T) {
	const million = 1_000_000
	now := time.Unix(1e9, 0)
	w := newSpaceWatch()
	for _, step := range []struct {
		what   string
		free   uint64
		urgent bool
	}{
		{"the first look", 10 * million, false},
		{"a droplet", 10*million - 50_000, false},
		{"far more", 9 * million, true},
		{"nearly none left", 90_000, true},
		{"still", 90_000, true},
	} {
		s := Space{Free: 64 << 30, Total: 100 << 30, FreeFiles: step.free, Files: 16 * million}
		if got := w.urgent(s, now); got != step.urgent {
			t.Errorf("%s: %v, want %v", step.what, got, step.urgent)
		}
		if step.urgent {
			w.measured(s, 0, now, true)
		}
	}
	if s := (Space{Free: 64 << 30, Total: 100 << 30}); newSpaceWatch().urgent(s, now) {
		t.Error("a file system without an end of files is urgent")
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

// of files, likewise.
func fillingWithFiles(full *atomic.Bool) func() (Space, error) {
	return func() (Space, error) {
		s := Space{Free: 40 << 30, Total: 100 << 30, FreeFiles: 5_000_000, Files: 6_000_000}
		if full.Load() {
			s.FreeFiles = 1_000_000
		}
		return s, nil
	}
}

// An app that makes files quickly is ended long before they would be counted.
func TestFilesAreMadeQuickly(t *testing.T) {
	var full atomic.Bool
	w := newWorld()
	w.app(t, "p1", nil)
	n := startNode(t, w, func(c *Config) {
		c.Timing.Measure, c.Timing.Space = time.Hour, 20*time.Millisecond
		c.Space = fillingWithFiles(&full)
	})
	n.run("a1", instance.KindApp, "p1", "v1")
	n.awaitReady("a1")
	if said := n.get("a1", "/files?n=100001"); said != "" {
		t.Fatal(said)
	}
	full.Store(true)
	await(t, "crash", func() bool { return n.status("a1").State == instance.Crashed })
	if s := n.status("a1"); s.Reason != "file limit exceeded: more than 100000 files" {
		t.Errorf("%+v", s)
	}
	if !w.logged("app-p1 CELL/2 Instance a1 file limit exceeded: more than 100000 files") {
		t.Errorf("log %q", w.lines)
	}
}

// A build that makes too many files is stopped as one that fills the disk.
func TestBuildMakesManyFiles(t *testing.T) {
	w := newWorld()
	w.builds["b1"] = staging.Spec{BuildGUID: "b1", Token: "t0ken", DiskMB: 16}
	n := startNode(t, w, func(c *Config) { c.MinFiles = 1000 })
	// 16 MB are 2048 files.
	id := docker(t, n.askArgs("-d", "s1", instance.KindStaging, "b1", []string{"GET", "/v1/build", "", "FILES", "2100", ""})...)
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", id).Run() })
	await(t, "report", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.results) == 1 })
	if r := w.results[0]; r.Error != staging.ErrStaging || r.Detail != "Staging was stopped, file limit exceeded: more than 2048 files" {
		t.Errorf("%+v", r)
	}
	if !w.logged("app-b1 STG/0 Staging was stopped, file limit exceeded: more than 2048 files") {
		t.Errorf("log %q", w.lines)
	}
	await(t, "an end", func() bool { return len(n.staging()) == 0 })
}

// What an app holds is found wherever it hides it.
func TestHiddenDisk(t *testing.T) {
	for how, want := range map[string]string{
		"nameless": "disk limit exceeded: ", "mapped": "disk limit exceeded: ", "reserved": "disk limit exceeded: ",
		"deep": "file limit exceeded: folders more than 500 deep",
	} {
		t.Run(how, func(t *testing.T) {
			w := newWorld()
			w.app(t, "p1", func(s *instance.Spec) { s.DiskMB = 20 })
			n := startNode(t, w, nil)
			n.run("a1", instance.KindApp, "p1", "v1")
			n.awaitReady("a1")
			await(t, "a measurement", func() bool { return n.status("a1").Usage.DiskByte > 0 })
			if said := n.get("a1", "/hide?mb=40&how="+how); strings.Contains(said, "not") || strings.Contains(said, "denied") {
				t.Fatal(said)
			}
			await(t, "crash", func() bool { return n.status("a1").State == instance.Crashed })
			if s := n.status("a1"); !strings.HasPrefix(s.Reason, want) {
				t.Errorf("%+v", s)
			}
		})
	}
}

// An app that writes quickly is ended long before its disk would be measured,
// at once.
func TestDiskIsFilledQuickly(t *testing.T) {
	var full atomic.Bool
	w := newWorld()
	w.app(t, "p1", func(s *instance.Spec) { s.DiskMB = 20 })
	n := startNode(t, w, func(c *Config) {
		c.Timing.Measure, c.Timing.Space = time.Hour, 20*time.Millisecond
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
		dir, _, err := n.cfg.Engine.layer(t.Context(), id)
		if err != nil {
			return false
		}
		used, err := walkLayer(t.Context(), dir, minFiles)
		return err == nil && used.bytes > 8<<20 && len(n.staging()) == 1
	})
	full.Store(true)
	await(t, "report", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.results) == 1 })
	if got := w.results[0]; !strings.Contains(got.Detail, "disk limit exceeded") {
		t.Errorf("%+v", got)
	}
	await(t, "an end", func() bool { return len(n.staging()) == 0 })
}
