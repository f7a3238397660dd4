package main

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("os/signal.loop"), goleak.IgnoreTopFunction("os/signal.signal_recv"))
}

// TestStatus: every child is told apart, also those that end at once.
func TestStatus(t *testing.T) {
	c := newChildren()
	defer c.reap()()
	var started []*process
	for range 20 {
		for _, script := range []string{"exit 0", "exit 3", "kill -9 $$", "kill -15 $$"} {
			p, err := c.start(command{path: "/bin/sh", args: []string{"sh", "-c", script}, dir: "/", uid: uint32(os.Getuid()), gid: uint32(os.Getgid())})
			if err != nil {
				t.Fatal(err)
			}
			started = append(started, p)
		}
	}
	for i, p := range started {
		select {
		case got := <-p.done:
			if want := []int{0, 3, 137, 143}[i%4]; got != want {
				t.Errorf("child %d: status %d, want %d", i, got, want)
			}
		case <-time.After(time.Minute):
			t.Fatal("a child's end is not known")
		}
	}
	if len(c.waiting) != 0 {
		t.Errorf("%d are still waited for", len(c.waiting))
	}
	if _, err := c.start(command{path: "/no/such", args: []string{"x"}, dir: "/"}); err == nil {
		t.Error("started what does not exist")
	}
}
