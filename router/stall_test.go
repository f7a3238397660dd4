package router_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stackato/stackato/router"
)

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// count returns a counter of the router.
func (r *running) count(t *testing.T, name string) float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(r)
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == "stackato_router_"+name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// prior speaks HTTP/2 with prior knowledge to the router.
func (r *running) prior(t *testing.T) *http.Transport {
	t.Helper()
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &p, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, r.http)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// TestStalledUpload: a client that stops in the middle of a large body gives its
// place at the instance back, whatever it speaks; who is slow keeps it, and who
// talks in turns with the instance may be silent.
func TestStalledUpload(t *testing.T) {
	t.Parallel()
	feed := newControllers()
	r := start(t, feed, func(c *router.Config) { c.Limits.Stall = 1500 * time.Millisecond })
	broken := make(chan error, 10)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/turns" {
			fmt.Fprint(w, "hello ")
			http.NewResponseController(w).Flush()
		}
		n, err := io.Copy(io.Discard, req.Body)
		if err != nil {
			broken <- err
			return
		}
		fmt.Fprint(w, n)
	}))
	var both http.Protocols
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	s.Config.Protocols = &both
	s.Start()
	t.Cleanup(s.Close)
	one, two := backendOf(s.Listener.Addr().String(), "one"), backendOf(s.Listener.Addr().String(), "two")
	two.Protocol = "http2"
	feed.set(routeTo("app.example.com", "", one))
	feed.set(routeTo("grpc.example.com", "", two))
	r.routed(t, "app.example.com", 200)
	r.routed(t, "grpc.example.com", 200)

	slow := make(chan answer, 1)
	go func() {
		slow <- r.do(t, "POST", "http://app.example.com/", &pieces{left: 9, pause: 300 * time.Millisecond})
	}()
	// Silent for longer than anybody below: the app has begun to answer, or it is gRPC.
	turns, say := io.Pipe()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://grpc.example.com/turns", turns)
	if err != nil {
		t.Fatal(err)
	}
	conversation, err := r.prior(t).RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer conversation.Body.Close()
	messages, send := io.Pipe()
	called := make(chan answer, 1)
	go func() {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://grpc.example.com/", messages)
		req.Header.Set("Content-Type", "application/grpc+proto")
		res, err := r.prior(t).RoundTrip(req)
		if err != nil {
			t.Error(err)
			return
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		called <- answer{res, string(text)}
	}()
	io.WriteString(send, "message")

	if got := r.raw(t, "POST / HTTP/1.1\r\nHost: app.example.com\r\nContent-Length: 1000000\r\n\r\n1234"); got.StatusCode != http.StatusRequestTimeout ||
		got.Header.Get("X-Cf-Routererror") != "body_timeout" || !got.Close {
		t.Errorf("Content-Length: %d %v", got.StatusCode, got.Header)
	}
	if got := r.raw(t, "POST / HTTP/1.1\r\nHost: app.example.com\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n"); got.StatusCode != http.StatusRequestTimeout {
		t.Errorf("chunked: %d %v", got.StatusCode, got.Header)
	}
	silent, quiet := io.Pipe()
	defer quiet.Close()
	stuck, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://app.example.com/", silent)
	res, err := r.prior(t).RoundTrip(stuck)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusRequestTimeout {
		t.Errorf("HTTP/2: %d %v", res.StatusCode, res.Header)
	}
	for range 3 {
		if err := <-broken; err == nil {
			t.Error("the app got a whole body")
		}
	}
	if n := r.count(t, "backend_failures_total"); n != 0 {
		t.Errorf("the instance was blamed %v times", n)
	}

	if got := <-slow; got.text != "9" {
		t.Errorf("a slow client: %d %s", got.StatusCode, got.text)
	}
	io.WriteString(say, "bye")
	say.Close()
	if text, err := io.ReadAll(conversation.Body); err != nil || string(text) != "hello 3" {
		t.Errorf("a conversation: %q, %v", text, err)
	}
	io.WriteString(send, "another")
	send.Close()
	if got := <-called; got.text != "14" {
		t.Errorf("gRPC: %d %s", got.StatusCode, got.text)
	}
}

// pieces is a body that comes byte by byte.
type pieces struct {
	left  int
	pause time.Duration
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	<-time.After(p.pause)
	p.left--
	return copy(b, "x"), nil
}

// TestBrokenUpload: a client that goes away in the middle of a body is not the
// instance's fault.
func TestBrokenUpload(t *testing.T) {
	t.Parallel()
	feed := newControllers()
	var log lines
	r := start(t, feed, func(c *router.Config) { c.Log = log.add })
	entered := make(chan struct{})
	_, b := app(t, "one", func(_ http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPost {
			close(entered)
			io.Copy(io.Discard, req.Body)
		}
	})
	feed.set(routeTo("app.example.com", "", b))
	r.routed(t, "app.example.com", 200)
	c, err := net.Dial("tcp", r.http)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "POST /part HTTP/1.1\r\nHost: app.example.com\r\nContent-Length: 1000000\r\n\r\n1234")
	<-entered
	c.Close()
	eventually(t, "499 logged", func() bool {
		for _, l := range log.get() {
			if strings.Contains(string(l.Message), `"POST /part HTTP/1.1" 499 `) {
				return true
			}
		}
		return false
	})
	if n := r.count(t, "backend_failures_total"); n != 0 {
		t.Errorf("the instance was blamed %v times", n)
	}
}

// TestClientThatDoesNotRead: its answer, its stream of a connection, and its
// WebSocket end.
func TestClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	feed := newControllers()
	r := start(t, feed, func(c *router.Config) { c.Limits.Stall = time.Second })
	ended := make(chan string, 10)
	flood := func(w io.Writer) {
		for block := make([]byte, 64<<10); ; {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}
	_, b := app(t, "one", func(w http.ResponseWriter, req *http.Request) {
		switch {
		case req.URL.Path == "/":
			return
		case req.Header.Get("Upgrade") == "":
			flood(w)
		default:
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n")
			flood(c)
		}
		ended <- req.URL.Path
	})
	feed.set(routeTo("app.example.com", "", b))
	r.routed(t, "app.example.com", 200)

	c, err := net.Dial("tcp", r.http)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /1 HTTP/1.1\r\nHost: app.example.com\r\n\r\n")
	ws, _ := upgradeAt(t, r, "app.example.com")
	defer ws.Close()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://app.example.com/2", nil)
	transport := r.prior(t)
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for range 3 {
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Fatal("the app still sends")
		}
	}
	// The connection of the stream is as good as before.
	req, _ = http.NewRequestWithContext(t.Context(), http.MethodGet, "http://app.example.com/", nil)
	other, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	other.Body.Close()
}

// upgradeAt opens a WebSocket without its framing.
func upgradeAt(t *testing.T, r *running, host string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", r.http)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: "+host+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n")
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Sec-WebSocket-Accept") != "x" {
		t.Fatalf("got %d %v", res.StatusCode, res.Header)
	}
	return c, in
}
