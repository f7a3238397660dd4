// Package supervisetest helps tests that run real Consul and Nomad processes:
// it finds the programs, makes certificates, picks ports and waits for
// conditions.
package supervisetest

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stackato/stackato/agent/supervise"
)

// Binary returns a program that will do. Without one, or with -short, the test
// is skipped; with STACKATO_TEST_DOCKER=1, which says that the whole test must
// run, a missing program fails it.
func Binary(t *testing.T, need supervise.Requirement) string {
	t.Helper()
	if testing.Short() {
		t.Skipf("starts a real %s: not with -short", need.Name)
	}
	b, err := supervise.Locate(t.Context(), need, filepath.Join(moduleRoot(t), "bin"))
	if err == nil {
		return b.Path
	}
	if os.Getenv("STACKATO_TEST_DOCKER") == "1" {
		t.Fatalf("%v (make tools)", err)
	}
	t.Skipf("%v (make tools)", err)
	return ""
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = up
	}
}

// Dir returns a temporary directory with a short path.
func Dir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sup")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// given are the ports that this process has got.
var given sync.Map

// Ports returns n ports that are free for tcp and udp on ip and on 127.0.0.1.
// They lie below those that the system gives to clients and Nomad to apps: they
// are still free when a program listens on them later, or again.
func Ports(t *testing.T, ip string, n int) []int {
	t.Helper()
	var out []int
	for tries := 0; len(out) < n; tries++ {
		if tries > 100*n {
			t.Fatal("no free ports")
		}
		port, closers, err := claim(ip)
		for _, c := range closers {
			defer func() { _ = c() }() // all stay claimed until the last is found
		}
		if err == nil {
			out = append(out, port)
		}
	}
	return out
}

func claim(ip string) (port int, closers []func() error, err error) {
	port = 10000 + rand.N(10000)
	if _, taken := given.LoadOrStore(port, true); taken {
		return 0, nil, errors.New("given before")
	}
	l, err := net.Listen("tcp4", net.JoinHostPort(ip, strconv.Itoa(port)))
	if err != nil {
		return 0, nil, err
	}
	closers = append(closers, l.Close)
	u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(ip), Port: port})
	if err != nil {
		return 0, closers, err
	}
	closers = append(closers, u.Close)
	if ip != "127.0.0.1" {
		l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			return 0, closers, err
		}
		closers = append(closers, l.Close)
	}
	return port, closers, nil
}

// Run supervises spec until the test ends, when the process is stopped and
// its log shown if the test failed. The returned function ends the
// supervision before, leaving the process alone: what the death of an agent
// does.
func Run(t *testing.T, spec supervise.Spec, o supervise.Options) (*supervise.Child, func()) {
	t.Helper()
	o.End = supervise.Detach
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	c, err := supervise.New(spec, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	errc := make(chan error, 1)
	go func() { errc <- c.Run(ctx) }()
	ended := false
	end := func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-errc; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() {
		if !ended {
			c.AtEnd(supervise.Stop)
		}
		end()
		if t.Failed() {
			showLog(t, spec.LogFile)
		}
	})
	return c, end
}

func showLog(t *testing.T, path string) {
	b, err := os.ReadFile(path)
	if err != nil {
		return
	}
	lines := strings.Split(string(b), "\n")
	if len(lines) > 60 {
		lines = lines[len(lines)-60:]
	}
	t.Logf("%s:\n%s", path, strings.Join(lines, "\n"))
}

// patience is what a wait is given at least: programs share two processors with
// the tests of other packages, and a condition that holds ends its wait at once.
const patience = time.Minute

// Eventually calls f until it returns nil, for at most d or a minute, whichever
// is longer, and returns how long that took.
func Eventually(t *testing.T, d time.Duration, what string, f func(context.Context) error) time.Duration {
	t.Helper()
	begin := time.Now()
	d = max(d, patience)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := f(ctx)
		if err == nil {
			return time.Since(begin)
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %v: %v", what, d, last)
		}
	}
}

// Ready waits until the child is ready, as long as Eventually does, and returns
// its status.
func Ready(t *testing.T, c *supervise.Child, d time.Duration) supervise.Status {
	t.Helper()
	d = max(d, patience)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := c.AwaitReady(ctx); err != nil {
		t.Fatalf("not within %v: %v", d, err)
	}
	return c.Status()
}

// ErrNotYet is for conditions that have no error of their own.
var ErrNotYet = errors.New("not yet")
