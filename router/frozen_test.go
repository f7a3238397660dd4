package router_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stackato/stackato/router"
	"github.com/stackato/stackato/wire/routing"
)

// TestFrozenController: a controller that stands still, with its connections
// open, costs the requests that it had taken a moment and not their answer.
func TestFrozenController(t *testing.T) {
	server := certificate(t, "controller")
	roots := x509.NewCertPool()
	roots.AddCert(server.Leaf)
	arrived := make(chan string, 1)
	var first atomic.Bool
	first.Store(true)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/slow" && first.CompareAndSwap(true, false) { // it is frozen before it answers
			arrived <- req.RemoteAddr
			<-req.Context().Done()
			return
		}
		fmt.Fprint(w, "answered")
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{*server}}
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	relays := []*relay{newRelay(t, s.Listener.Addr().String()), newRelay(t, s.Listener.Addr().String())}
	feed := newControllers()
	feed.system = &routing.System{Hosts: []string{"api.example.com"}, Targets: []string{relays[0].addr(), relays[1].addr()}}
	r := start(t, feed, func(c *router.Config) {
		c.SystemTLS = &tls.Config{RootCAs: roots}
		c.Limits.SystemPing = 100 * time.Millisecond
	})
	r.routed(t, "api.example.com", 200)
	got := make(chan string, 1)
	go func() { got <- r.do(t, http.MethodGet, "http://api.example.com/slow", nil).text }()
	from := <-arrived
	for _, relay := range relays {
		relay.freeze(from)
	}
	if text := <-got; text != "answered" {
		t.Errorf("the request of the frozen controller: %q", text)
	}
}

// relay passes bytes on until it is frozen; its connections stay open.
type relay struct {
	net.Listener
	mu     sync.Mutex
	frozen bool
	conns  []net.Conn
}

func newRelay(t *testing.T, to string) *relay {
	r := &relay{Listener: loopback(t)}
	var running sync.WaitGroup
	t.Cleanup(func() {
		r.Close()
		r.mu.Lock()
		for _, c := range r.conns {
			c.Close()
		}
		r.mu.Unlock()
		running.Wait()
	})
	running.Go(func() {
		for {
			in, err := r.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, in, out)
			r.mu.Unlock()
			running.Go(func() { r.pass(out, in); out.Close() })
			running.Go(func() { r.pass(in, out); in.Close() })
		}
	})
	return r
}

// pass copies; what comes after the freeze is swallowed.
func (r *relay) pass(to io.Writer, from io.Reader) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		r.mu.Lock()
		frozen := r.frozen
		r.mu.Unlock()
		if !frozen {
			_, _ = to.Write(b[:n]) // the reader's side notices
		}
	}
}

func (r *relay) addr() string { return r.Listener.Addr().String() }

// freeze ends the passing if the server knows a connection by that address.
func (r *relay) freeze(address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		r.frozen = r.frozen || c.LocalAddr().String() == address
	}
}
