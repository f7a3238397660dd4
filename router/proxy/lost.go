package proxy

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// errLost ends requests to a machine that acknowledges nothing any more: one
// without power or network does not hang up, and TCP would send again for a
// quarter of an hour.
var errLost = errors.New("the machine of the instance does not answer any more")

// lookout finds the connections to backends whose other side is gone. It looks
// at what the kernel knows: whether the last bytes, or its questions whether the
// other side lives, are acknowledged. An app that is busy or does not read is
// alive: its kernel acknowledges. TCP_USER_TIMEOUT would cut it off, too.
type lookout struct {
	silence time.Duration // that makes a connection lost

	mu   sync.Mutex
	open map[*backendConn]struct{}
}

func newLookout(silence time.Duration) *lookout {
	return &lookout{silence: silence, open: map[*backendConn]struct{}{}}
}

// keepAlive lets the kernel ask whether the other side lives while nothing is
// sent. Its own patience is longer than the lookout's.
func (l *lookout) keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: l.silence / 3, Interval: l.silence / 3, Count: 9}
}

// watch makes a connection known until it is closed.
func (l *lookout) watch(c net.Conn, of *connections) *backendConn {
	b := &backendConn{Conn: c, of: of, lookout: l}
	if sc, ok := c.(syscall.Conn); ok {
		b.raw, _ = sc.SyscallConn() // without it, the kernel's patience holds
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[b] = struct{}{}
	return b
}

func (l *lookout) forget(c *backendConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
}

// run looks at all connections until ctx ends.
func (l *lookout) run(ctx context.Context, lost func([]*backendConn)) {
	tick := time.NewTicker(min(max(l.silence/15, 20*time.Millisecond), time.Second))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			all := l.silent(now)
			if len(all) > 0 {
				lost(all)
			}
			for _, c := range all {
				c.lose()
			}
		}
	}
}

// silent returns the connections that are lost.
func (l *lookout) silent(now time.Time) (lost []*backendConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		bound := l.silence
		if c.of.doubted.Load() {
			bound /= 5 // somebody else has noticed already
		}
		if c.silence(now) >= bound {
			lost = append(lost, c)
		}
	}
	return lost
}

// backendConn is a connection to a backend. It tells the attempt that has it
// when its first bytes are written: net/http's own hooks are called before its
// buffer is flushed. And it can be lost.
type backendConn struct {
	net.Conn
	of      *connections
	lookout *lookout
	attempt atomic.Pointer[attempt]
	lost    atomic.Bool

	raw   syscall.RawConn // nil: nothing is known
	since time.Time       // it has been waiting for an acknowledgement; the lookout's
}

// silence is how long the other side has acknowledged nothing although it
// should have.
func (c *backendConn) silence(now time.Time) time.Duration {
	if c.raw == nil {
		return 0
	}
	var info *unix.TCPInfo
	err := c.raw.Control(func(fd uintptr) {
		info, _ = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) //nolint:gosec // a descriptor
	})
	// Who lives answers each question (a probe) and each repetition, even if it has no room for what it is
	// sent; Linux leaves out answers to questions less than 0.5 s apart, which the second one is. Of questions the
	// kernel counts the open ones, of repetitions those since something was taken.
	open := err == nil && info != nil && (info.Probes > 0 || info.Retransmits > 0 && info.Last_data_sent < info.Last_ack_recv)
	if !open {
		c.since = time.Time{}
		return 0
	}
	if c.since.IsZero() {
		c.since = now
	}
	// The last acknowledgement may have come in between, or long before.
	return min(now.Sub(c.since), time.Duration(info.Last_ack_recv)*time.Millisecond)
}

// lose closes the connection: who reads and writes gets errLost.
func (c *backendConn) lose() {
	c.lost.Store(true)
	c.of.lostAt.Store(time.Now().UnixNano())
	_ = c.Close() // nothing gets there any more
}

func (c *backendConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return n, c.reason(err)
}

func (c *backendConn) Write(b []byte) (int, error) {
	a := c.attempt.Swap(nil)
	if a != nil {
		a.wrote.Store(true)
	}
	n, err := c.Conn.Write(b)
	if a != nil && err == nil {
		a.sent()
	}
	return n, c.reason(err)
}

// Close implements net.Conn.
func (c *backendConn) Close() error {
	c.lookout.forget(c)
	return c.Conn.Close()
}

func (c *backendConn) reason(err error) error {
	if err != nil && c.lost.Load() {
		return errLost
	}
	return err
}
