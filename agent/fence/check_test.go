package fence

import (
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/wire/instance"
)

func TestNeverListens(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", func(s *instance.Spec) { s.Command = "exec sleep 1000"; s.Health.Timeout = 200 * time.Millisecond })
	n := startNode(t, w, func(c *Config) { c.Timing.Linger = time.Minute })
	n.run("a1", instance.KindApp, "p1", "v1")
	await(t, "crash", func() bool { return n.status("a1").State == instance.Crashed })
	if s := n.status("a1"); s.Reason != "did not come up within 200ms: nothing listens on port 8080" || s.Crashes != 1 {
		t.Errorf("%+v", s)
	}
	if !w.logged("a1 did not come up within 200ms: nothing listens on port 8080") {
		t.Errorf("log %q", w.lines)
	}
}

// TestLiveness: one failure of the check ends the instance.
func TestLiveness(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", func(s *instance.Spec) { s.Health = instance.Check{Type: instance.CheckHTTP, Endpoint: "/health"} })
	n := startNode(t, w, func(c *Config) { c.Timing.Linger = time.Minute })
	n.run("a1", instance.KindApp, "p1", "v1")
	n.awaitReady("a1")
	n.get("a1", "/sick")
	await(t, "crash", func() bool { return n.status("a1").State == instance.Crashed })
	if s := n.status("a1"); s.Reason != "became unhealthy: GET /health answered 418 I'm a teapot, not 200" || s.Crashes != 1 {
		t.Errorf("%+v", s)
	}
}

// TestReadiness: who is not ready is out of the routes and runs on.
func TestReadiness(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", func(s *instance.Spec) { s.Readiness = instance.Check{Type: instance.CheckHTTP, Endpoint: "/ready"} })
	n := startNode(t, w, nil)
	n.run("a1", instance.KindApp, "p1", "v1")
	started := n.awaitReady("a1").Started
	n.get("a1", "/unready")
	await(t, "withdrawal", func() bool { return !n.status("a1").Ready })
	if s := n.status("a1"); s.State != instance.Running {
		t.Errorf("%+v", s)
	}
	n.get("a1", "/unready?no=1")
	if s := n.awaitReady("a1"); !s.Started.Equal(started) || s.Crashes != 0 {
		t.Errorf("%+v", s)
	}
}

// TestLimits: memory and disk have ends, and the reason is told.
func TestLimits(t *testing.T) {
	for path, want := range map[string]string{"/eat": "out of memory", "/write?mb=30": "disk limit exceeded: "} {
		t.Run(path, func(t *testing.T) {
			w := newWorld()
			w.app(t, "p1", func(s *instance.Spec) { s.DiskMB = 20 })
			n := startNode(t, w, func(c *Config) { c.Timing.Linger = time.Minute })
			n.run("a1", instance.KindApp, "p1", "v1")
			n.awaitReady("a1")
			await(t, "usage", func() bool { u := n.status("a1").Usage; return u.MemBytes > 0 && u.DiskByte > 0 && !u.At.IsZero() })
			n.get("a1", path)
			await(t, "crash", func() bool { return n.status("a1").State == instance.Crashed })
			if s := n.status("a1"); !strings.HasPrefix(s.Reason, want) || s.OOM != (path == "/eat") {
				t.Errorf("%+v", s)
			}
			if !w.logged(want) {
				t.Errorf("log %q", w.lines)
			}
		})
	}
}

// TestSidecar: app and sidecar live and die together.
func TestSidecar(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", func(s *instance.Spec) {
		s.Sidecars = []instance.Sidecar{{Name: "side", Command: `while ! [ -e $TMPDIR/big ]; do sleep 0.05; done; exit 9`}}
	})
	n := startNode(t, w, func(c *Config) { c.Timing.Linger = time.Minute })
	n.run("a1", instance.KindApp, "p1", "v1")
	n.awaitReady("a1")
	n.get("a1", "/write?mb=1")
	await(t, "crash", func() bool { s := n.status("a1"); return s.State == instance.Crashed && s.ExitCode == 9 })
}

// TestTask: its end is reported and stays.
func TestTask(t *testing.T) {
	w := newWorld()
	w.app(t, "t1", func(s *instance.Spec) {
		s.TaskName, s.Command = "migrate", `echo port=$PORT index=$CF_INSTANCE_INDEX; exit 5`
	})
	n := startNode(t, w, nil)
	id := n.run("a1", instance.KindTask, "t1", "v1")
	await(t, "end", func() bool { return n.status("a1").State == instance.Gone })
	if s := n.status("a1"); s.ExitCode != 5 || s.Crashes != 0 {
		t.Errorf("%+v", s)
	}
	if out := docker(t, "logs", id); !strings.Contains(out, "port= index=2") {
		t.Errorf("output %s", out)
	}
}

// TestStubborn: an app that ignores SIGTERM is killed after its grace, with
// what it started.
func TestStubborn(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", func(s *instance.Spec) {
		s.Command, s.Health.Type = `trap "" TERM; echo deaf; while :; do sleep 0.1; done`, instance.CheckProcess
	})
	n := startNode(t, w, func(c *Config) { c.Timing.Grace = 300 * time.Millisecond })
	id := n.run("a1", instance.KindApp, "p1", "v1")
	n.awaitReady("a1")
	await(t, "trap", func() bool { return strings.Contains(dockerLogs(t, id), "deaf") })
	docker(t, "stop", "-t", "60", id)
	if code := docker(t, "inspect", "-f", "{{.State.ExitCode}}", id); code != "137" {
		t.Errorf("exit status %s", code)
	}
	await(t, "end", func() bool { return n.status("a1").AllocID == "" })
	if w.logged("crashed") {
		t.Errorf("log %q", w.lines)
	}
}
