package fence

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/routing"
)

// TestAppFromLabelToRoute: one instance, from its container to its end.
func TestAppFromLabelToRoute(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", nil)
	n := startNode(t, w, nil)
	id := n.run("alloc1", instance.KindApp, "p1", "v1")
	s := n.awaitReady("alloc1")
	if s.State != instance.Running || s.Index != 2 || s.Node != "node1" || s.AppGUID != "app-p1" || s.ProcessType != "web" || s.Version != "v1" {
		t.Errorf("status %+v", s)
	}
	env := n.get("alloc1", "/env")
	for _, want := range []string{
		"PORT=8080", "VCAP_APP_PORT=8080", "CF_INSTANCE_INDEX=2", "CF_INSTANCE_GUID=alloc1", "CF_INSTANCE_ADDR=" + s.Address,
		"HOME=/home/vcap/app", "PWD=/home/vcap/app", "USER=vcap", "TMPDIR=/home/vcap/tmp", "MEMORY_LIMIT=64m", "SECRET=s3cret-p1", "FROM_PROFILE=12",
		"SSL_CERT_FILE=/etc/cf-system-certificates/trusted-ca.crt", `STACKATO_SERVICES={"db":{"uri":"x://y"}}`,
		`"instance_id":"alloc1"`, `"instance_index":2`, `"port":8080`,
	} {
		if !strings.Contains(env, want) {
			t.Errorf("environment has no %s:\n%s", want, env)
		}
	}
	if strings.Contains(env, "NOMAD_") {
		t.Error("the app sees Nomad's variables")
	}
	await(t, "line in the log", func() bool { return w.logged("app-p1 CELL/2 Container became healthy") })

	// Stopping: routers first, then the app.
	servedOn := make(chan string, 1)
	w.mu.Lock()
	w.onOut = func(routing.Withdrawal) { servedOn <- n.get("alloc1", "/health") }
	w.mu.Unlock()
	docker(t, "stop", "-t", "30", id)
	if body := <-servedOn; body != "" {
		t.Errorf("the app did not serve while routers let it go: %s", body)
	}
	if len(w.withdrawn) != 1 || w.withdrawn[0].AllocID != "alloc1" || w.withdrawn[0].Address != s.Address {
		t.Errorf("withdrawn %+v", w.withdrawn)
	}
	await(t, "end", func() bool { return n.status("alloc1").AllocID == "" })
	if out, _ := exec.Command("docker", "logs", id).Output(); !strings.Contains(string(out), "app got SIGTERM") {
		t.Errorf("output: %s", out)
	}
	if w.logged("crashed") {
		t.Errorf("a stop counts as a crash: %q", w.lines)
	}
}

// TestAppIsPowerless: the app has no privilege, no capability and no way to
// fence.
func TestAppIsPowerless(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", nil)
	n := startNode(t, w, nil)
	id := n.run("alloc1", instance.KindApp, "p1", "v1")
	n.awaitReady("alloc1")
	status := n.get("alloc1", "/status")
	for _, want := range []string{
		"Uid:\t2000\t2000\t2000\t2000", "Gid:\t2000\t2000\t2000\t2000", "Groups:\t \n", "NoNewPrivs:\t1",
		"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000",
	} {
		if !strings.Contains(status, want) {
			t.Errorf("no %q in %s", want, status)
		}
	}
	if got, want := n.get("alloc1", "/try"), "socket false\nenviron false\nsetuid false\nkill false\nstdout true\n"; got != want {
		t.Errorf("the app can: %s", got)
	}
	if top := docker(t, "top", id, "-eo", "pid,args"); strings.Contains(top, "s3cret") {
		t.Errorf("a secret among the arguments: %s", top)
	}
}

// TestWatch: a snapshot, then changes; nothing before the engine has told what
// runs.
func TestWatch(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", nil)
	n := startNode(t, w, func(c *Config) { c.Timing.Interval, c.Timing.Linger = time.Hour, time.Second }) // its end alone is to be seen
	n.run("alloc1", instance.KindApp, "p1", "v1")
	n.awaitReady("alloc1")
	errEnough := errors.New("enough")
	var reports []instance.Report
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := n.Watch(ctx, func(r instance.Report) error {
		reports = append(reports, r)
		if len(reports) == 1 {
			go n.get("alloc1", "/exit?code=3")
			return nil
		}
		if len(r.Instances) == 1 && r.Instances[0].State == instance.Gone {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	if first := reports[0]; !first.Snapshot || len(first.Instances) != 1 || !first.Instances[0].Ready {
		t.Errorf("first report %+v", first)
	}
	var crash instance.Status
	for _, r := range reports[1:] {
		if r.Snapshot || len(r.Instances) != 1 {
			t.Errorf("a change %+v", r)
		} else if r.Instances[0].State == instance.Crashed {
			crash = r.Instances[0]
		}
	}
	if crash.ExitCode != 3 || crash.Crashes != 1 || crash.Ready || crash.Reason != "exited with status 3" {
		t.Errorf("crash %+v", crash)
	}
}

// seen is an Observer.
type seen struct {
	mu   sync.Mutex
	list []string
}

func (s *seen) Started(c Container) { s.note("started", c) }
func (s *seen) Ended(c Container)   { s.note("ended", c) }

func (s *seen) note(what string, c Container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, fmt.Sprintf("%s %s %s %s", what, c.Kind, c.AppGUID, c.AllocID))
	if what == "started" {
		s.list = append(s.list, fmt.Sprint("rate ", c.LogRateBytes))
	}
}

func (s *seen) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

// TestObserver: each container is told of once, with what is kept of its log,
// also one whose launcher never asked.
func TestObserver(t *testing.T) {
	w, o := newWorld(), new(seen)
	w.app(t, "p1", func(s *instance.Spec) { s.LogRateBytes = 1000 })
	n := startNode(t, w, func(c *Config) { c.Observer = o })
	id := n.run("a1", instance.KindApp, "p1", "v1")
	n.awaitReady("a1")
	docker(t, "rm", "-f", id)
	await(t, "end", func() bool { return len(o.all()) == 3 })
	n.run("a2", instance.KindApp, "p1", "v1", "--entrypoint", "/bin/id")
	await(t, "second end", func() bool { return len(o.all()) == 6 })
	n.ask("s1", instance.KindStaging, "b1", "GET", "/v1/certificates", "")
	want := []string{
		"started app app-p1 a1", "rate 1000", "ended app app-p1 a1", "started app app-p1 a2", "rate -1", "ended app app-p1 a2",
		"started staging app-b1 s1", "rate -1", "ended staging app-b1 s1",
	}
	await(t, "third end", func() bool { return len(o.all()) == len(want) })
	if diff := cmp.Diff(want, o.all()); diff != "" {
		t.Error(diff)
	}
}
