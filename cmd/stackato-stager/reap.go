package main

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reap collects processes whose parents have ended, as the first process of a
// container must, but not the building process: that is waited for. The
// returned function ends it.
func reap(c *child) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGCHLD)
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-signals:
				c.reap()
			}
		}
	})
	return func() {
		signal.Stop(signals)
		close(done)
		running.Wait()
	}
}

func (c *child) reap() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for reapOne(c.pid) {
	}
}

// reapOne collects one ended process that is not keep, and reports whether there
// may be more.
func reapOne(keep int) bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err != nil {
		return err == unix.EINTR //nolint:errorlint // the kernel's own
	}
	pid := childOf(&info)
	if pid == 0 || pid == keep {
		return false
	}
	_, err = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
	return err == nil
}

// childOf returns si_pid, which Siginfo does not name: after three 32-bit
// numbers and, on 64-bit machines, their padding.
func childOf(info *unix.Siginfo) int {
	const offset = 3*4 + (unsafe.Sizeof(uintptr(0))-4)%8
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), offset)))
}
