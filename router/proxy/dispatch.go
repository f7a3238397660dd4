package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stackato/stackato/router/table"
)

// dispatcher is the transport that chooses a backend, and another one when that
// is allowed.
type dispatcher Proxy

// RoundTrip sends a request to one of the route's backends.
func (d *dispatcher) RoundTrip(out *http.Request) (*http.Response, error) {
	p := (*Proxy)(d)
	x := exchangeOf(out.Context())
	x.appStart = time.Now()
	var last error
	for n := range min(p.cfg.Attempts, len(x.tried)) {
		x.choice.Now, x.choice.Tried = time.Now(), x.tried[:n]
		b, err := x.route.Pick(&x.choice)
		if err != nil {
			if last != nil {
				err = last
			}
			return nil, err
		}
		req := out
		if n > 0 {
			// The transport of the last attempt may still be looking at out.
			req = out.Clone(out.Context())
			if x.body != nil {
				req.Body = x.body.attempt()
			}
			p.metrics.retries.Inc()
		}
		res, again, err := p.try(req, x, b)
		if err == nil {
			return res, nil
		}
		if !again {
			return nil, err
		}
		x.tried[n], last = b, err
	}
	return nil, last
}

// try sends a request to a backend, which was picked. again says whether another
// one may be tried.
func (p *Proxy) try(req *http.Request, x *exchange, b *table.Backend) (res *http.Response, again bool, err error) {
	a := &attempt{backend: b, shared: b.System || b.Protocol == "http2" && req.Header.Get("Upgrade") == ""}
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), a.trace()))
	req.URL.Host = b.Address
	if b.System {
		if p.cfg.SystemTLS != nil {
			req.URL.Scheme = "https"
		}
	} else {
		req.Header["X-Cf-Applicationid"] = []string{b.AppGUID}
		req.Header["X-Cf-Instanceid"] = []string{b.AllocID}
		req.Header["X-Cf-Instanceindex"] = []string{strconv.Itoa(b.Index)}
	}
	if x.body != nil && x.body.small {
		req.GetBody = x.body.again
	}
	x.backend, x.last = b, b
	res, err = p.connectionsOf(b).RoundTrip(req)
	a.sent()
	if err == nil {
		if x.body != nil {
			x.body.answered()
		}
		b.Restore()
		return res, false, nil
	}
	x.backend = nil
	b.Release()
	return nil, p.judge(req, x, a, err), err
}

// judge ejects the backend if the error is its own, and says whether another one
// may be tried: yes if this one cannot have begun to work on the request, or if
// the request may be repeated, and if its body is still there.
func (p *Proxy) judge(req *http.Request, x *exchange, a *attempt, err error) (again bool) {
	if req.Context().Err() != nil {
		return false // the client's doing
	}
	if x.body != nil && x.body.failed() != nil {
		return false // the client's, too
	}
	if x.late = a.connected.Load() && isTimeout(err) && !isDial(err); x.late {
		return false // it is working on it, or stuck; a second one would be, too
	}
	p.metrics.failures.Inc()
	a.backend.Eject(time.Now().Add(p.cfg.Eject))
	p.log.Debug("backend failed", "address", a.backend.Address, "alloc", a.backend.AllocID, "request_id", x.id,
		"connected", a.connected.Load(), "err", err)
	untouched := !a.wrote.Load() || closedIdle(err)
	return (untouched || repeatable(req)) && (x.body == nil || x.body.abandon())
}

// repeatable follows net/http's Transport.
func repeatable(req *http.Request) bool {
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	_, a := req.Header["Idempotency-Key"]
	_, b := req.Header["X-Idempotency-Key"]
	return a || b
}

// closedIdle reports whether the backend had closed a kept-alive connection
// before the request was put on it. net/http does not export this error.
func closedIdle(err error) bool {
	return strings.Contains(err.Error(), "server closed idle connection")
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout() || errors.Is(err, context.DeadlineExceeded)
}

// isDial reports whether no connection came about. net/http makes another one
// by itself when a kept-alive one broke.
func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// attempt is one backend's try at a request.
type attempt struct {
	backend   *table.Backend
	shared    bool // the connection may be shared with other requests: HTTP/2
	connected atomic.Bool
	wrote     atomic.Bool // some of the request may have been sent
	isSent    atomic.Bool
}

// sent tells withdrawals that the request is on its way.
func (a *attempt) sent() {
	if a.isSent.CompareAndSwap(false, true) {
		a.backend.Sent()
	}
}

// trace follows the request until it is on its way: when bytes of it have been
// written to a connection of its own, or its header to a shared one.
func (a *attempt) trace() *httptrace.ClientTrace {
	t := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		a.connected.Store(true)
		a.wrote.Store(false) // Transport tries again by itself on a dead connection
		if c, ok := info.Conn.(*backendConn); ok && !a.shared {
			c.attempt.Store(a)
		}
	}}
	if a.shared {
		t.WroteHeaders = func() {
			a.wrote.Store(true)
			a.sent()
		}
	}
	return t
}
