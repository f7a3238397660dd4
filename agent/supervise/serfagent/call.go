package serfagent

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// How long a call may take when its context has no earlier deadline. Leaving
// and forcing out are answered when they are done and gossip has spread it.
const (
	CallWithin  = 5 * time.Second
	LeaveWithin = 20 * time.Second
)

// Caller makes calls to the API of one agent, named in the errors. It keeps
// connections and may be used concurrently.
type Caller struct {
	name      string
	transport *http.Transport
}

// NewCaller connects to nothing. name is "consul" or "nomad".
func NewCaller(name string) *Caller {
	dialer := net.Dialer{Timeout: 2 * time.Second}
	return &Caller{name, &http.Transport{
		DialContext: dialer.DialContext, MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second,
	}}
}

// Close closes idle connections. The caller can still be used.
func (c *Caller) Close() { c.transport.CloseIdleConnections() }

// Call runs f with an HTTP client whose requests end with ctx, or after d, and
// names the operation in its error.
func (c *Caller) Call(ctx context.Context, d time.Duration, op string, f func(*http.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	if err := f(&http.Client{Transport: contextTransport{ctx, c.transport}}); err != nil {
		return fmt.Errorf("%s: %s: %w", c.name, op, err)
	}
	return nil
}

// contextTransport gives every request a context: many methods of the API
// libraries take none.
type contextTransport struct {
	ctx  context.Context
	next http.RoundTripper
}

func (t contextTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.next.RoundTrip(r.WithContext(t.ctx))
}
