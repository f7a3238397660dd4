package fence

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/wire/instance"
)

func TestNeverListens(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", func(s *instance.Spec) { s.Command = "exec sleep 1000"; s.Health.Timeout = 200 * time.Millisecond })
	n := startNode(t, w, nil)
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
	n := startNode(t, w, nil)
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
	for path, want := range map[string]string{
		"/eat": "out of memory", "/write?mb=30": "disk limit exceeded: ",
		"/shm?mb=60": "out of memory", // files in memory are memory
	} {
		t.Run(path, func(t *testing.T) {
			w := newWorld()
			w.app(t, "p1", func(s *instance.Spec) { s.DiskMB = 20 })
			n := startNode(t, w, nil)
			n.run("a1", instance.KindApp, "p1", "v1")
			n.awaitReady("a1")
			await(t, "usage", func() bool { u := n.status("a1").Usage; return u.MemBytes > 0 && u.DiskByte > 0 && !u.At.IsZero() })
			n.get("a1", path)
			await(t, "crash", func() bool { return n.status("a1").State == instance.Crashed })
			if s := n.status("a1"); !strings.HasPrefix(s.Reason, want) || s.OOM != (want == "out of memory") {
				t.Errorf("%+v", s)
			}
			await(t, "line in the log", func() bool { return w.logged(want) })
		})
	}
}

// TestSidecar: app and sidecar live and die together.
func TestSidecar(t *testing.T) {
	w := newWorld()
	w.app(t, "p1", func(s *instance.Spec) {
		s.Sidecars = []instance.Sidecar{{Name: "side", Command: `while ! [ -e $TMPDIR/big ]; do sleep 0.05; done; exit 9`}}
	})
	n := startNode(t, w, nil)
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

// TestProbeOfAttacker: whatever an app answers, a check ends, follows nothing,
// and says nothing in the app's own words.
func TestProbeOfAttacker(t *testing.T) {
	for name, tt := range map[string]struct {
		answer  func(io.Writer) error
		want    string // of the error, "" for none
		endless bool
	}{
		"own words": {func(w io.Writer) error {
			_, err := io.WriteString(w, "HTTP/1.1 500 \x1b[2J"+strings.Repeat("evil", 1000)+"\r\nContent-Length: 0\r\n\r\n")
			return err
		}, "GET /health answered 500 Internal Server Error, not 200", false},
		"unknown status": {func(w io.Writer) error {
			_, err := io.WriteString(w, "HTTP/1.1 799 evil\r\nContent-Length: 0\r\n\r\n")
			return err
		}, "GET /health answered 799, not 200", false},
		"redirect": {func(w io.Writer) error {
			_, err := io.WriteString(w, "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n")
			return err
		}, "GET /health answered 302 Found, not 200", false},
		"endless body": {func(w io.Writer) error {
			_, err := io.WriteString(w, "HTTP/1.1 200 OK\r\n\r\n")
			for err == nil {
				_, err = w.Write(make([]byte, 64<<10))
			}
			return err
		}, "", true},
		"endless header": {func(w io.Writer) error {
			_, err := io.WriteString(w, "HTTP/1.1 200 OK\r\n")
			for err == nil {
				_, err = io.WriteString(w, "X-More: "+strings.Repeat("x", 1000)+"\r\n")
			}
			return err
		}, "GET /health: no answer within 1m0s", true},
		"endless promises": {func(w io.Writer) (err error) {
			for err == nil {
				_, err = io.WriteString(w, "HTTP/1.1 103 Early Hints\r\n\r\n")
			}
			return err
		}, "GET /health: no answer within 1m0s", true},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			served := make(chan error, 1)
			go func() {
				conn, err := l.Accept()
				if err == nil {
					_, err = http.ReadRequest(bufio.NewReader(conn))
				}
				if err == nil {
					err = tt.answer(conn)
					conn.Close()
				}
				served <- err
			}()
			p := probe{kind: instance.CheckHTTP, url: "http://" + l.Addr().String() + "/health", invocation: time.Minute}
			err = p.try(t.Context())
			if got := fmt.Sprint(err); tt.want == "" && err != nil || tt.want != "" && got != tt.want {
				t.Errorf("%s, want %q", got, tt.want)
			}
			if err := <-served; tt.endless != (err != nil) {
				t.Errorf("the app's side ended with %v", err)
			}
		})
	}
}
