package proxy

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/netip"
	"time"

	"github.com/stackato/stackato/router/table"
	"github.com/stackato/stackato/wire/logs"
)

// Table is what the proxy asks for routes. Both methods are called for each
// request, concurrently.
type Table interface {
	// Lookup returns the route of a Host header and an escaped path, or nil.
	Lookup(hostHeader, path string) *table.Route
	// Ready reports whether a route that is not found does not exist.
	Ready() bool
}

// Config is what a Proxy needs. Zero values stand for their defaults.
type Config struct {
	Table Table

	// SystemTLS is how controllers are reached; nil is plain HTTP, for tests. It
	// is asked for the connection of each target, whose host is the server name
	// unless it sets one.
	SystemTLS *tls.Config

	// Stale reports whether the table may no longer be true; nil: it never is.
	// While it is, Confirm has to say that address still belongs to that
	// allocation on that node before a connection is made. nil Confirm: no need.
	Stale   func() bool
	Confirm func(ctx context.Context, node, address, allocID string) error

	// TrustedProxies are peers whose X-Forwarded-* headers are true, such as a
	// load balancer in front. What others send is dropped or appended to.
	TrustedProxies []netip.Prefix

	// AccessLog takes a line per request; nil keeps none. Log takes the same line
	// for the app's log and must not block for long: lines are dropped, and
	// counted, while it does. InstanceID is what such lines carry, the index of
	// the router; default "0".
	AccessLog  AccessLog
	Log        func(logs.Line)
	InstanceID string

	Metrics *Metrics     // nil: made, and not shown
	Logger  *slog.Logger // nil is slog.Default()

	Limits
}

// AccessLog keeps lines without their newline. One goroutine calls it. Flush is
// called when no more lines are waiting.
type AccessLog interface {
	WriteLine(line []byte) error
	Flush() error
}

// Limits bounds what a request may take. Zero values stand for their defaults,
// which are gorouter's where it has them.
type Limits struct {
	HeaderBytes     int           // request header; default 1 MiB
	HeaderTimeout   time.Duration // until a request header is read; default 30 s
	IdleTimeout     time.Duration // of a client's kept-alive connection; default 15 min
	ResponseTimeout time.Duration // from the end of the request to the response header; default 15 min
	DialTimeout     time.Duration // of a connection to a backend; default 5 s
	SystemPing      time.Duration // a controller's silence before it is asked whether it lives, and bound of that; default 2 s
	ConfirmTimeout  time.Duration // of Confirm; default 2 s
	BackendIdle     time.Duration // of a kept-alive connection to a backend; default 1.5 s: apps close theirs after 2 s and more
	Eject           time.Duration // how long a failed backend is left alone; default 30 s
	Attempts        int           // backends that are tried; default 3
	BackendRequests int           // requests in flight per backend; default 500, as cf-deployment; -1 no bound
	SmallBody       int64         // request bodies up to so many bytes are read before a backend is chosen; default 64 KiB; -1 none
	BodyTimeout     time.Duration // until such a body is read; default 60 s
	Stall           time.Duration // of a client in the middle of a larger body, or that takes nothing of an answer; default 60 s, nginx's
	Lost            time.Duration // without acknowledgement, after which a backend's machine is gone; default 15 s, a fifth if the table has dropped it
}

func (l *Limits) setDefaults() {
	l.HeaderBytes = or(l.HeaderBytes, 1<<20)
	l.HeaderTimeout = or(l.HeaderTimeout, 30*time.Second)
	l.IdleTimeout = or(l.IdleTimeout, 15*time.Minute)
	l.ResponseTimeout = or(l.ResponseTimeout, 15*time.Minute)
	l.DialTimeout = or(l.DialTimeout, 5*time.Second)
	l.SystemPing = or(l.SystemPing, 2*time.Second)
	l.ConfirmTimeout = or(l.ConfirmTimeout, 2*time.Second)
	l.BackendIdle = or(l.BackendIdle, 1500*time.Millisecond)
	l.Eject = or(l.Eject, 30*time.Second)
	l.Attempts = or(l.Attempts, 3)
	l.BackendRequests = or(l.BackendRequests, 500)
	l.SmallBody = or(l.SmallBody, 64<<10)
	l.BodyTimeout = or(l.BodyTimeout, time.Minute)
	l.Stall = or(l.Stall, time.Minute)
	l.Lost = or(l.Lost, 15*time.Second)
}

func or[T comparable](v, byDefault T) T {
	var zero T
	if v == zero {
		return byDefault
	}
	return v
}
