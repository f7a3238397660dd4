package fence

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/wire/instance"
)

func TestSchedule(t *testing.T) {
	s := Config{}.withDefaults().Schedule
	want := []time.Duration{
		0, 0, 0, 30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 16 * time.Minute,
	}
	var got []time.Duration
	for count := 1; count <= 10; count++ {
		got = append(got, s.wait(count))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := s.wait(100000); got != 16*time.Minute {
		t.Errorf("in the long run %s", got)
	}
}

// TestPastIsForgotten: who ran well begins anew, and what was waited for does
// not count as running.
func TestPastIsForgotten(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	table := newTable(Config{Now: func() time.Time { return now }}.withDefaults())
	c := Container{AllocID: "a", Kind: instance.KindApp, running: true}
	crash := func(ran time.Duration) instance.Status {
		t.Helper()
		c.ID += "x"
		c.started = now
		table.started(c)
		now = now.Add(table.held(c))
		table.held(c)
		now = now.Add(ran)
		end, ok := table.died(c.ID, 1, false)
		if !ok || !end.crashed {
			t.Fatal("no crash")
		}
		return end.status
	}
	for i := range 6 {
		if s := crash(time.Second); s.Crashes != i+1 {
			t.Fatalf("crash %d counts as %d", i+1, s.Crashes)
		}
	}
	// Waits 2 minutes and runs 4: not five minutes of running.
	if s := crash(4 * time.Minute); s.Crashes != 7 {
		t.Errorf("after four minutes %d crashes", s.Crashes)
	}
	if s := crash(5 * time.Minute); s.Crashes != 1 || !s.Retry.Equal(now) {
		t.Errorf("after five minutes %d crashes, retry in %s", s.Crashes, s.Retry.Sub(now))
	}
}

// TestHeldIsCrashed: while an instance waits in its new container it is
// CRASHED, with the time of its next start and why it crashed; then it is
// STARTING.
func TestHeldIsCrashed(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	table := newTable(Config{Now: func() time.Time { return now }}.withDefaults())
	c := Container{AllocID: "a", Kind: instance.KindApp}
	for range 4 {
		c.ID += "x"
		table.started(c)
		table.died(c.ID, 1, false)
	}
	c.ID = "held"
	table.started(c)
	retry := now.Add(30 * time.Second)
	if s := table.all()[0]; s.State != instance.Crashed || !s.Retry.Equal(retry) || s.Crashes != 4 ||
		s.Reason != "exited with status 1; crashed too often, waits" {
		t.Errorf("held: %+v", s)
	}
	if wait := table.held(c); wait != 30*time.Second {
		t.Errorf("held for %s", wait)
	}
	now = retry
	if wait := table.held(c); wait != 0 {
		t.Errorf("then held for %s", wait)
	}
	if s := table.all()[0]; s.State != instance.Starting || !s.Retry.IsZero() || s.Reason != "" {
		t.Errorf("then: %+v", s)
	}
}

// TestCrashesAreHeldBack: an instance that crashes again and again waits, says
// until when, and starts while every controller is away and after fence itself
// was restarted.
func TestCrashesAreHeldBack(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", func(s *instance.Spec) { s.Command = "exit 7"; s.Health.Type = instance.CheckProcess })
	n := startNode(t, w, func(c *Config) {
		c.Schedule = Schedule{AtOnce: 1, First: time.Second, Max: time.Second}
	})
	once := func(crashes int) instance.Status {
		t.Helper()
		id := n.run("a1", instance.KindApp, "p1", "v1")
		await(t, "crash", func() bool {
			s := n.status("a1")
			return s.Crashes == crashes && s.State == instance.Crashed && s.ExitCode == 7
		})
		docker(t, "rm", "-f", id)
		return n.status("a1")
	}
	if s := once(1); s.Retry.After(time.Now()) || s.Reason != "exited with status 7" {
		t.Errorf("first crash %+v", s)
	}
	w.setAway(true)
	if s := once(2); s.Retry.IsZero() {
		t.Errorf("second crash %+v", s)
	}
	retry := n.status("a1").Retry
	id := n.run("a1", instance.KindApp, "p1", "v1")
	await(t, "third crash", func() bool { return n.status("a1").Crashes == 3 })
	if s := n.status("a1"); s.Since.Before(retry) {
		t.Errorf("started %s too early", retry.Sub(s.Since))
	}
	docker(t, "rm", "-f", id)
	if w.count("instance") != 1 {
		t.Errorf("asked %q", w.asked)
	}
	past := n.table.past()["a1"]
	n.stop()
	again, err := New(n.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.table.past()["a1"]; got.Count != 3 || !got.Retry.Equal(past.Retry) {
		t.Errorf("after a restart %+v, was %+v", got, past)
	}
}

// TestWaitsForControllers: with nothing cached an instance waits until a
// controller answers.
func TestWaitsForControllers(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", nil)
	w.setAway(true)
	n := startNode(t, w, nil)
	n.run("a1", instance.KindApp, "p1", "v1")
	await(t, "line", func() bool { return w.logged("no controller answers") })
	w.setAway(false)
	n.awaitReady("a1")
}

// TestUnknownVersion: a refusal ends the container, and says why.
func TestUnknownVersion(t *testing.T) {
	w := newWorld()
	n := startNode(t, w, nil)
	id := n.run("a1", instance.KindApp, "p1", "v9")
	await(t, "crash", func() bool { return n.status("a1").State == instance.Crashed || n.status("a1").Crashes > 0 })
	if out, _ := exec.Command("docker", "logs", id).CombinedOutput(); !strings.Contains(string(out), "no version v9 of process p1") {
		t.Errorf("output: %s", out)
	}
	await(t, "line in the log", func() bool { return w.logged("no version v9 of process p1") })
}

// TestSecretsAreSealed: nothing below fence's directory holds a secret.
func TestSecretsAreSealed(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", nil)
	n := startNode(t, w, nil)
	n.run("a1", instance.KindApp, "p1", "v1")
	n.awaitReady("a1")
	files := 0
	err := filepath.WalkDir(n.cfg.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), "s3cret") {
			t.Errorf("%s holds a secret", path)
		}
		return err
	})
	if err != nil || files < 4 {
		t.Errorf("%d files, %v", files, err)
	}
}
