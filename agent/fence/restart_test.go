package fence

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stackato/stackato/wire/instance"
)

// relay stands between fence and the engine, so that the engine can be away.
type relay struct {
	listener net.Listener
	mu       sync.Mutex
	down     bool
	conns    map[net.Conn]struct{}
	done     sync.WaitGroup
}

func newRelay(t *testing.T) (*relay, string) {
	t.Helper()
	socket := filepath.Join(shortDir(t), "d.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, conns: map[net.Conn]struct{}{}}
	r.done.Go(r.accept)
	t.Cleanup(func() {
		l.Close()
		r.set(true)
		r.done.Wait()
	})
	return r, socket
}

func (r *relay) accept() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		engine, err := net.Dial("unix", DefaultSocket)
		r.mu.Lock()
		if err != nil || r.down {
			r.mu.Unlock()
			conn.Close()
			if err == nil {
				engine.Close()
			}
			continue
		}
		r.conns[conn], r.conns[engine] = struct{}{}, struct{}{}
		r.mu.Unlock()
		for a, b := range map[net.Conn]net.Conn{conn: engine, engine: conn} {
			r.done.Go(func() {
				_, _ = io.Copy(a, b)
				a.Close()
				b.Close()
			})
		}
	}
}

// set breaks all connections off and lets no new ones come, or lets them.
func (r *relay) set(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
	for c := range r.conns {
		c.Close()
	}
	clear(r.conns)
}

// TestEngineGap: what starts and ends while the engine cannot be asked is
// known afterwards.
func TestEngineGap(t *testing.T) {
	needDocker(t)
	r, socket := newRelay(t)
	w := newWorld()
	w.app(t, "p1", nil)
	n := startNode(t, w, func(c *Config) { c.Engine = newEngine(t, socket) })
	ends := n.run("a1", instance.KindApp, "p1", "v1")
	n.run("a2", instance.KindApp, "p1", "v1")
	n.awaitReady("a1")
	n.awaitReady("a2")

	r.set(true)
	docker(t, "kill", ends)
	n.run("a3", instance.KindApp, "p1", "v1")
	if n.status("a1").State != instance.Running {
		t.Fatal("the gap is none")
	}
	r.set(false)
	n.awaitReady("a3")
	await(t, "crash", func() bool { s := n.status("a1"); return s.State == instance.Crashed && s.ExitCode == 137 })
	if s := n.status("a2"); !s.Ready || s.Crashes != 0 {
		t.Errorf("the one that ran on: %+v", s)
	}
}

// TestFenceRestart: instances run on over a restart of fence, are known again
// and can stop in order.
func TestFenceRestart(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", nil)
	n := startNode(t, w, nil)
	id := n.run("a1", instance.KindApp, "p1", "v1")
	before := n.awaitReady("a1")
	n.stop()
	w.setAway(true)
	again := runNode(t, w, n.cfg)
	var first instance.Report
	enough := errors.New("enough")
	err := again.Watch(t.Context(), func(r instance.Report) error { first = r; return enough })
	if !errors.Is(err, enough) || len(first.Instances) != 1 || !first.Instances[0].Ready {
		t.Errorf("the first report does not show the instance as ready: %+v, %v", first, err)
	}
	after := again.awaitReady("a1")
	if after.Address != before.Address || !after.Started.Equal(before.Started) || after.Crashes != 0 {
		t.Errorf("%+v, was %+v", after, before)
	}
	docker(t, "stop", "-t", "30", id)
	await(t, "end", func() bool { return again.status("a1").AllocID == "" })
	if len(w.withdrawn) != 1 {
		t.Errorf("withdrawn %v", w.withdrawn)
	}
}

// TestEndsWhileFenceBegins: who is waited for before the first report may end. It
// is not waited for in vain, and its end is not kept back.
func TestEndsWhileFenceBegins(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", nil)
	n := startNode(t, w, func(c *Config) { c.Timing.Adopt = time.Hour })
	n.stop()
	n.run("a1", instance.KindApp, "p1", "v9") // its launcher asks when fence is back
	again := runNode(t, w, n.cfg)
	await(t, "crash", func() bool { return again.status("a1").Crashes > 0 })
}

// TestStopWithoutFence: an app ends in order while nobody can be asked.
func TestStopWithoutFence(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", nil)
	n := startNode(t, w, nil)
	id := n.run("a1", instance.KindApp, "p1", "v1")
	n.awaitReady("a1")
	n.stop()
	docker(t, "stop", "-t", "30", id)
	if out := docker(t, "logs", id); !strings.Contains(out, "app got SIGTERM") {
		t.Errorf("output %s", out)
	}
}

// TestReady: an image that is missing or was replaced keeps work away.
func TestReady(t *testing.T) {
	needDocker(t)
	ref := built.image + "-ready"
	w := newWorld()
	n := startNode(t, w, func(c *Config) {
		c.Images, c.Timing.Images = func() []string { return []string{ref} }, 20*time.Millisecond
	})
	announced := func(want ...string) func() bool {
		return func() bool {
			w, err := n.table.subscribe()
			if err != nil {
				t.Fatal(err)
			}
			defer n.table.unsubscribe(w)
			r := n.table.take(w)
			return r.Images != nil && slices.Equal(*r.Images, want)
		}
	}
	await(t, "no image is announced", announced())
	await(t, "list", func() bool { err := n.Ready(t.Context()); return errors.Is(err, ErrNoImage) })
	if err := n.Ready(t.Context()); !strings.Contains(err.Error(), ref+" is not on this node") {
		t.Error(err)
	}
	docker(t, "tag", built.image, ref)
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", ref).Run() })
	await(t, "the image is announced", announced(ref))
	for range 2 {
		if err := n.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	}
	id := docker(t, "create", built.image, "/bin/true")
	defer docker(t, "rm", id)
	docker(t, "commit", id, ref)
	if err := n.Ready(t.Context()); !errors.Is(err, ErrNoImage) || !strings.Contains(err.Error(), "when this node saw it first") {
		t.Errorf("replaced: %v", err)
	}
	await(t, "the replaced image is not announced any more", announced())
}

// TestDeadContainersArePruned: those that Nomad left behind go, those that run
// and those of others stay.
func TestDeadContainersArePruned(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", nil)
	n := startNode(t, w, nil)
	lives := n.run("a1", instance.KindApp, "p1", "v1")
	dead := n.run("a2", instance.KindApp, "p1", "v1")
	others := docker(t, "run", "-d", "--label", labelAlloc+"=x", "--label", labelKind+"=app", "--label", labelProcess+"=x", built.image, "/bin/sleep", "0")
	t.Cleanup(func() { docker(t, "rm", "-f", others) })
	n.awaitReady("a1")
	n.awaitReady("a2")
	docker(t, "kill", dead)
	await(t, "crash", func() bool { return n.status("a2").State == instance.Crashed })
	if err := n.pruneContainers(t.Context(), time.Now().Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	docker(t, "inspect", dead) // too young
	if err := n.pruneContainers(t.Context(), time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	docker(t, "inspect", lives, others)
	if exec.Command("docker", "inspect", dead).Run() == nil {
		t.Error("the dead one is still there")
	}
}

// TestEndedInstancesGoSoon: what a power loss leaves of an app goes by itself
// and soon; a task's container stays for Nomad, which may want its exit code.
func TestEndedInstancesGoSoon(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", nil)
	n := startNode(t, w, nil)
	lives := n.run("a1", instance.KindApp, "p1", "v1")
	dead := n.run("a2", instance.KindApp, "p1", "v1")
	task := n.run("t1", instance.KindTask, "p1", "v1")
	n.awaitReady("a1")
	n.awaitReady("a2")
	docker(t, "kill", dead, task)
	if err := n.pruneEnded(t.Context(), time.Now().Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	docker(t, "inspect", dead) // too young
	if err := n.pruneEnded(t.Context(), time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	docker(t, "inspect", lives, task)
	if exec.Command("docker", "inspect", dead).Run() == nil {
		t.Error("the dead one is still there")
	}
}

func TestProgramsAreReplaced(t *testing.T) {
	dir := t.TempDir()
	source, target := filepath.Join(dir, "program"), filepath.Join(dir, "bin")
	if err := os.Mkdir(target, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"one", "two", "three, longer"} {
		if err := os.WriteFile(source, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := install(source, target); err != nil {
				t.Fatal(err)
			}
		}
		data, err := os.ReadFile(filepath.Join(target, "program"))
		info, _ := os.Stat(filepath.Join(target, "program"))
		if err != nil || string(data) != content || info.Mode().Perm() != 0o755 || len(names(t, target)) != 1 {
			t.Errorf("%q, %v, %v, %v", data, err, info.Mode(), names(t, target))
		}
	}
	if err := install(filepath.Join(dir, "absent"), target); err == nil {
		t.Error("a missing program is no error")
	}
}
