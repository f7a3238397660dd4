package proxy

import (
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience ends reads or writes that wait for a client for too long. One call at
// a time is watched; release, over and others may come from elsewhere.
type patience struct {
	limit time.Duration
	end   func() // makes the call that waits return, and later ones; must not block

	mu      sync.Mutex
	timer   *time.Timer
	until   time.Time
	waiting bool
	endless bool // there is no limit any more
	out     bool // it ran out
}

// begin is called before a call that may wait.
func (p *patience) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = true
	if p.endless {
		return
	}
	p.until = time.Now().Add(p.limit)
	if p.timer == nil {
		p.timer = time.AfterFunc(p.limit, p.expire)
	} else {
		p.timer.Reset(p.limit)
	}
}

// done is called after it, and reports whether patience ran out.
func (p *patience) done() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = false
	if p.timer != nil {
		p.timer.Stop()
	}
	return p.out
}

func (p *patience) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.waiting || p.endless || time.Now().Before(p.until) {
		return // another call's
	}
	p.out = true
	p.end()
}

// release takes the limit away, also from the call that waits now.
func (p *patience) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endless = true
	if p.timer != nil {
		p.timer.Stop()
	}
}

// busy reports whether a call waits.
func (p *patience) busy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting
}

// aLongTimeAgo is a deadline that has passed.
var aLongTimeAgo = time.Unix(1, 0)

// Bound returns l with connections that the kernel ends when their client takes
// nothing of what it is sent for Limits.Stall, or does not acknowledge it. l
// must be the system's own listener, without Multipath TCP, which knows no such
// limit.
func (p *Proxy) Bound(l net.Listener) net.Listener {
	return &boundListener{l, userTimeout(p.cfg.Stall)}
}

type boundListener struct {
	net.Listener
	bound control
}

// Accept implements net.Listener.
func (l *boundListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			_ = l.bound("", "", raw) // without it the kernel's own patience holds
		}
	}
	return c, nil
}

// control is net.Dialer's Control.
type control = func(network, address string, c syscall.RawConn) error

// userTimeout makes connections end when what was sent is not taken by the
// other side for so long.
func userTimeout(d time.Duration) control {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		failed := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds())) //nolint:gosec // a descriptor
		})
		if failed != nil {
			return failed
		}
		return err
	}
}
