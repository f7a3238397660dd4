package main

import (
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// children starts processes and reaps all that end, also orphans that the
// kernel gave to the first process of the container.
type children struct {
	mu      sync.Mutex
	waiting map[int]*process
}

// process is one that was started here.
type process struct {
	pid  int
	done chan int // gets its status once: 128 + signal if one ended it
}

func newChildren() *children { return &children{waiting: map[int]*process{}} }

// command is what to start. The new process leads a session of its own, has no
// supplementary groups, and no files but the three.
type command struct {
	path     string
	args     []string // with the name
	dir      string
	env      []string
	stdin    *os.File // nil: /dev/null
	output   *relay   // nil: what is this process's own
	uid, gid uint32
}

// start holds the lock over the fork: a child that ends at once must not be
// reaped before it is known.
func (c *children) start(cmd command) (*process, error) {
	stdin := cmd.stdin
	if stdin == nil {
		null, err := os.Open(os.DevNull)
		if err != nil {
			return nil, err
		}
		defer null.Close()
		stdin = null
	}
	files := []uintptr{stdin.Fd(), 1, 2}
	if cmd.output != nil {
		for i := range cmd.output.streams {
			files[1+i] = cmd.output.streams[i].in.Fd()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	pid, err := syscall.ForkExec(cmd.path, cmd.args, &syscall.ProcAttr{
		Dir: cmd.dir, Env: cmd.env, Files: files,
		Sys: &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: cmd.uid, Gid: cmd.gid}},
	})
	if err != nil {
		return nil, err
	}
	p := &process{pid: pid, done: make(chan int, 1)}
	c.waiting[pid] = p
	return p, nil
}

// reap reaps until the returned function is called.
func (c *children) reap() (stop func()) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	quit := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-quit:
				return
			case <-ended:
				c.collect()
			}
		}
	})
	return func() {
		signal.Stop(ended)
		close(quit)
		done.Wait()
	}
}

// collect takes every child that has ended.
func (c *children) collect() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		c.mu.Lock()
		p := c.waiting[pid]
		delete(c.waiting, pid)
		c.mu.Unlock()
		if p != nil {
			p.done <- statusOf(status)
		}
	}
}

func statusOf(s syscall.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}
