package proxy

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stackato/stackato/router/table"
)

// idlePerBackend is how many kept-alive connections to a backend are kept.
const idlePerBackend = 256

// connections are those to one backend. Each backend has a transport of its own,
// so that its connections can be closed when it is withdrawn, and never serve
// whoever gets its port next.
type connections struct {
	usual   *http.Transport
	upgrade *http.Transport // for what HTTP/2 with prior knowledge cannot; else nil
	doubted atomic.Bool     // left the table without a farewell
	lostAt  atomic.Int64    // when one was lost, Unix nanoseconds
}

func (p *Proxy) connectionsOf(b *table.Backend) *connections {
	return b.Attach(p.connect).(*connections)
}

func (p *Proxy) connect(b *table.Backend) table.Attachment {
	c := new(connections)
	dial := p.dialer(b, c)
	build := func(set func(*http.Protocols)) *http.Transport {
		t := &http.Transport{
			DialContext:            dial,
			DisableCompression:     true, // what the app says is what the client gets
			MaxIdleConns:           idlePerBackend,
			MaxIdleConnsPerHost:    idlePerBackend,
			IdleConnTimeout:        p.cfg.BackendIdle,
			ResponseHeaderTimeout:  p.cfg.ResponseTimeout,
			ExpectContinueTimeout:  time.Second,
			MaxResponseHeaderBytes: int64(p.cfg.HeaderBytes),
			Protocols:              new(http.Protocols),
		}
		set(t.Protocols)
		return t
	}
	http1 := func(s *http.Protocols) { s.SetHTTP1(true) }
	switch {
	case b.System && p.cfg.SystemTLS != nil:
		t := build(func(s *http.Protocols) { s.SetHTTP1(true); s.SetHTTP2(true) })
		t.TLSClientConfig = p.cfg.SystemTLS.Clone()
		t.TLSHandshakeTimeout = p.cfg.DialTimeout
		// A controller that has lost its power or stands still says nothing: without these a request
		// that was under way would wait for the whole ResponseTimeout.
		t.HTTP2 = &http.HTTP2Config{SendPingTimeout: p.cfg.SystemPing, PingTimeout: p.cfg.SystemPing}
		c.usual = t
	case b.Protocol == "http2":
		c.usual, c.upgrade = build(func(s *http.Protocols) { s.SetUnencryptedHTTP2(true) }), build(http1)
	default:
		c.usual = build(http1)
	}
	return c
}

// RoundTrip sends a request to the backend.
func (c *connections) RoundTrip(req *http.Request) (*http.Response, error) {
	if c.upgrade != nil && req.Header.Get("Upgrade") != "" {
		return c.upgrade.RoundTrip(req)
	}
	return c.usual.RoundTrip(req)
}

// CloseIdleConnections implements table.Attachment.
func (c *connections) CloseIdleConnections() {
	c.usual.CloseIdleConnections()
	if c.upgrade != nil {
		c.upgrade.CloseIdleConnections()
	}
}

// Doubt implements table.Attachment.
func (c *connections) Doubt() { c.doubted.Store(true) }

// dialer connects to the backend. While the table is stale the node has to say
// before that the port is still that instance's.
func (p *Proxy) dialer(b *table.Backend, of *connections) func(context.Context, string, string) (net.Conn, error) {
	d := &net.Dialer{
		Timeout: p.cfg.DialTimeout, KeepAliveConfig: p.lookout.keepAlive(),
		// An app that takes nothing of a request for so long would not begin to answer in time either.
		Control: userTimeout(max(p.cfg.ResponseTimeout, p.cfg.Lost)),
	}
	var c confirmation
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		if !b.System && p.cfg.Confirm != nil && p.cfg.Stale != nil && p.cfg.Stale() {
			if err := c.confirm(ctx, p, b); err != nil {
				return nil, err
			}
		}
		if time.Now().UnixNano()-of.lostAt.Load() < int64(refusedFor) {
			return nil, errLost // net/http tries once more by itself
		}
		conn, err := d.DialContext(ctx, network, b.Address)
		if err != nil {
			return nil, err
		}
		return p.lookout.watch(conn, of), nil
	}
}

// refusedFor is how long a node's refusal, or its silence, is remembered: those
// who wait for the answer must not ask one after the other. No new connection is
// made for as long after one was lost.
const refusedFor = time.Second

// confirmation asks a node about an instance's port, one question at a time. A
// yes holds for one connection: a moment later the port can be another's. A no
// is remembered for a while.
type confirmation struct {
	mu    sync.Mutex
	until time.Time // err holds
	err   error
}

func (c *confirmation) confirm(ctx context.Context, p *Proxy, b *table.Backend) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().Before(c.until) {
		return c.err
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.ConfirmTimeout)
	defer cancel()
	c.err = p.cfg.Confirm(ctx, b.Node, b.Address, b.AllocID)
	if c.err != nil {
		p.metrics.unconfirmed.Inc()
		c.until = time.Now().Add(refusedFor)
		c.err = fmt.Errorf("no controller feeds this router, and node %s does not confirm that %s is instance %s: %w",
			b.Node, b.Address, b.AllocID, c.err)
	}
	return c.err
}
