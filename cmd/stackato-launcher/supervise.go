package main

import (
	"context"
	"os"
	"syscall"
	"time"
)

// supervise passes signals on until the first process ends, whichever it is:
// an app and its sidecars live and die together. It returns that one's
// status.
func (l *launcher) supervise(ctx context.Context, processes []*process) int {
	first := make(chan int, len(processes))
	for _, p := range processes {
		go func() { first <- <-p.done }()
	}
	for {
		select {
		case status := <-first:
			return status // the kernel ends the rest with this process
		case s := <-l.signals:
			if s != syscall.SIGTERM && s != syscall.SIGINT {
				l.forward(processes, s)
				continue
			}
			return l.stop(ctx, processes, first)
		}
	}
}

// stop is the one path of ending: out of the routes, SIGTERM, grace, SIGKILL.
// The app serves on while routers let it go.
func (l *launcher) stop(ctx context.Context, processes []*process, first <-chan int) int {
	out := make(chan struct{})
	go func() {
		defer close(out)
		_ = l.fence.stopping(ctx, l.bound) // without fence, or too late: the app ends all the same
	}()
	select {
	case status := <-first:
		return status
	case <-out:
	}
	l.kill(processes, syscall.SIGTERM)
	grace := time.NewTimer(l.grace)
	defer grace.Stop()
	status, left := 0, len(processes)
	for i := 0; left > 0; i++ {
		select {
		case s := <-first:
			if i == 0 || status == 0 {
				status = s
			}
			left--
		case <-grace.C:
			l.kill(processes, syscall.SIGKILL)
			return 128 + int(syscall.SIGKILL)
		}
	}
	return status
}

// end ends processes that had just been started when the signal came.
func (l *launcher) end(processes []*process) {
	l.kill(processes, syscall.SIGTERM)
	grace := time.After(l.grace)
	for _, p := range processes {
		select {
		case <-p.done:
		case <-grace:
			l.kill(processes, syscall.SIGKILL)
			return
		}
	}
}

func (l *launcher) forward(processes []*process, s os.Signal) {
	if number, ok := s.(syscall.Signal); ok {
		l.kill(processes[:1], number)
	}
}

// kill signals the process group of each. One that has ended is no error.
func (l *launcher) kill(processes []*process, s syscall.Signal) {
	for _, p := range processes {
		_ = syscall.Kill(-p.pid, s)
	}
}
