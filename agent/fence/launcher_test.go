package fence

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stackato/stackato/wire/instance"
)

// TestStopWhileWaiting: an instance that is told to stop before it could begin
// ends at once and did not crash.
func TestStopWhileWaiting(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", nil)
	w.setAway(true)
	n := startNode(t, w, nil)
	id := n.run("a1", instance.KindApp, "p1", "v1")
	await(t, "wait", func() bool { return w.logged("no controller answers") })
	docker(t, "stop", "-t", "60", id)
	if code := docker(t, "inspect", "-f", "{{.State.ExitCode}}", id); code != "143" {
		t.Errorf("exit status %s", code)
	}
	await(t, "end", func() bool { return n.status("a1").AllocID == "" })
	if w.logged("crashed") {
		t.Errorf("log %q", w.lines)
	}
}

// TestOrphansAreReaped: what an app's processes leave behind is no zombie.
func TestOrphansAreReaped(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", func(s *instance.Spec) {
		s.Command = "for i in 1 2 3 4 5; do ( ( sleep 0.0$i ) & ); done; exec testapp"
	})
	n := startNode(t, w, nil)
	id := n.run("a1", instance.KindApp, "p1", "v1")
	n.awaitReady("a1")
	var top string
	await(t, "only the launcher and the app", func() bool {
		top = docker(t, "top", id, "-eo", "pid,stat,comm")
		return strings.Count(top, "\n") == 2
	})
	if strings.Contains(top, " Z") {
		t.Error(top)
	}
}

// TestSignalsArePassedOn: to the app's whole process group; its status is the
// container's.
func TestSignalsArePassedOn(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", func(s *instance.Spec) {
		s.Command = `trap "exit 4" USR1; echo armed; while :; do sleep 0.05; done`
		s.Health.Type = instance.CheckProcess
	})
	n := startNode(t, w, nil)
	id := n.run("a1", instance.KindApp, "p1", "v1")
	n.awaitReady("a1")
	await(t, "trap", func() bool { return strings.Contains(dockerLogs(t, id), "armed") })
	docker(t, "kill", "-s", "USR1", id)
	await(t, "end", func() bool { s := n.status("a1"); return s.State == instance.Crashed })
	if s := n.status("a1"); s.ExitCode != 4 {
		t.Errorf("%+v", s)
	}
}

// TestBrokenDroplet: a droplet that cannot be unpacked, or names files
// outside, ends the container with a reason in its log.
func TestBrokenDroplet(t *testing.T) {
	for name, content := range map[string]string{"not an archive": "x", "leads out": ""} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			data := []byte(content)
			if content == "" {
				data = droplet(t, map[string]string{"../../etc/evil": "x"})
			}
			w.app(t, "p1", func(s *instance.Spec) { s.Droplet = w.put(data) })
			n := startNode(t, w, nil)
			id := n.run("a1", instance.KindApp, "p1", "v1")
			await(t, "crash", func() bool { return n.status("a1").State == instance.Crashed })
			if s := n.status("a1"); s.ExitCode != 70 {
				t.Errorf("%+v", s)
			}
			if out := dockerLogs(t, id); !strings.Contains(out, "unpack the droplet") {
				t.Errorf("output %s", out)
			}
		})
	}
}

// TestMountsOfNomadAreClosed: an app reaches neither the node's disk, which no
// limit of its container counts, nor the socket of Nomad's API.
func TestMountsOfNomadAreClosed(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", func(s *instance.Spec) {
		s.Command = `for d in alloc alloc/data local secrets; do if echo x > /$d/x; then echo open: $d; fi; done; echo tried; exec testapp`
	})
	n := startNode(t, w, nil)
	var mounts []string
	for _, name := range []string{"alloc", "local", "secrets"} {
		dir := t.TempDir()
		for _, d := range []string{dir, filepath.Join(dir, "data")} {
			if err := os.MkdirAll(d, 0o777); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Chmod(d, 0o777), os.Chown(d, 65534, 65534)); err != nil { //nolint:gosec // as Nomad makes them
				t.Fatal(err)
			}
		}
		mounts = append(mounts, "-v", dir+":/"+name)
	}
	id := n.run("a1", instance.KindApp, "p1", "v1", mounts...)
	n.awaitReady("a1")
	await(t, "the app's lines", func() bool { return strings.Contains(dockerLogs(t, id), "tried") })
	if log := dockerLogs(t, id); strings.Contains(log, "open: ") {
		t.Error(log)
	}
}
