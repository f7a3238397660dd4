package router_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/router"
	"github.com/stackato/stackato/wire/routing"
)

// certificate makes one that signs itself, for the names.
func certificate(t *testing.T, names ...string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// secure starts a router with TLS and one app that says how it was asked.
func secure(t *testing.T) (r *running, roots *x509.CertPool) {
	t.Helper()
	byDefault, named := certificate(t, "default.example.com"), certificate(t, "app.example.com", "*.apps.example.com")
	roots = x509.NewCertPool()
	roots.AddCert(byDefault.Leaf)
	roots.AddCert(named.Leaf)
	var certs router.Certificates
	certs.Set(byDefault, map[string]*tls.Certificate{"app.example.com": named, "*.apps.example.com": named})
	feed := newControllers()
	_, b := app(t, "one", func(w http.ResponseWriter, req *http.Request) {
		fmt.Fprint(w, req.Proto, " ", req.Header.Get("X-Forwarded-Proto"), " ", req.Header.Get("X-Forwarded-Port"))
	})
	feed.set(routeTo("app.example.com", "", b))
	r = start(t, feed, func(c *router.Config) {
		c.HTTPSListener, c.Certificates = loopback(t), certs.Get
	})
	r.routed(t, "app.example.com", 200)
	return r, roots
}

func TestTLSAndHTTP2(t *testing.T) {
	r, roots := secure(t)
	for _, http2 := range []bool{false, true} {
		var p http.Protocols
		p.SetHTTP1(!http2)
		p.SetHTTP2(http2)
		transport := &http.Transport{
			Protocols: &p, TLSClientConfig: &tls.Config{RootCAs: roots},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, r.https)
			},
		}
		res, err := (&http.Client{Transport: transport}).Get("https://app.example.com/")
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(res.Body)
		res.Body.Close()
		transport.CloseIdleConnections()
		if want := map[bool]int{false: 1, true: 2}[http2]; res.ProtoMajor != want {
			t.Errorf("the router speaks %s", res.Proto)
		}
		if string(text) != "HTTP/1.1 https 443" {
			t.Errorf("the app sees %q", text)
		}
	}
}

func TestServerNames(t *testing.T) {
	r, _ := secure(t)
	tests := []struct{ name, want string }{
		{"app.example.com", "app.example.com"},
		{"APP.example.com", "app.example.com"},
		{"x.apps.example.com", "app.example.com"},
		{"x.y.apps.example.com", "default.example.com"},
		{"other.example.com", "default.example.com"},
		{"", "default.example.com"},
	}
	for _, tt := range tests {
		c, err := tls.Dial("tcp", r.https, &tls.Config{ServerName: tt.name, InsecureSkipVerify: true}) //nolint:gosec // looks at the name itself
		if err != nil {
			t.Fatal(err)
		}
		if got := c.ConnectionState().PeerCertificates[0].Subject.CommonName; got != tt.want {
			t.Errorf("%q is shown the certificate of %s, want %s", tt.name, got, tt.want)
		}
		c.Close()
	}
	_, err := tls.Dial("tcp", r.https, &tls.Config{MaxVersion: tls.VersionTLS11, InsecureSkipVerify: true}) //nolint:gosec // to be refused
	if err == nil {
		t.Error("TLS 1.1 is accepted")
	}
}

// TestHTTP2Backend: an app that speaks HTTP/2 only, with a response in pieces
// both ways and a trailer, as gRPC needs.
func TestHTTP2Backend(t *testing.T) {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Trailer", "Grpc-Status")
		fmt.Fprint(w, req.Proto, " ")
		http.NewResponseController(w).Flush()
		for buf := make([]byte, 100); ; {
			n, err := req.Body.Read(buf)
			w.Write(buf[:n])
			http.NewResponseController(w).Flush()
			if err != nil {
				break
			}
		}
		w.Header().Set("Grpc-Status", "0")
	}))
	s.Config.Protocols = &p
	s.Start()
	t.Cleanup(s.Close)
	b := backendOf(s.Listener.Addr().String(), "one")
	b.Protocol = "http2"
	feed := newControllers()
	feed.set(routeTo("app.example.com", "", b))
	r := start(t, feed, nil)
	r.routed(t, "app.example.com", 200)

	// The client speaks HTTP/2 with prior knowledge as well.
	transport := &http.Transport{Protocols: &p, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, r.http)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	body, send := io.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://app.example.com/", body)
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	buf := make([]byte, 100)
	n, _ := res.Body.Read(buf)
	if string(buf[:n]) != "HTTP/2.0 " {
		t.Fatalf("first piece %q", buf[:n])
	}
	io.WriteString(send, "ping")
	if n, _ = res.Body.Read(buf); string(buf[:n]) != "ping" {
		t.Fatalf("second piece %q", buf[:n])
	}
	send.Close()
	io.Copy(io.Discard, res.Body)
	if res.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("trailer %v", res.Trailer)
	}
}

// websocketEcho upgrades and sends back what it gets.
func websocketEcho(w http.ResponseWriter, req *http.Request) {
	if req.Header.Get("Upgrade") != "websocket" {
		return
	}
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n")
	rw.Flush()
	io.Copy(c, rw)
}

func echoed(t *testing.T, c net.Conn, in *bufio.Reader, text string) {
	t.Helper()
	io.WriteString(c, text)
	got := make([]byte, len(text))
	if _, err := io.ReadFull(in, got); err != nil || string(got) != text {
		t.Fatalf("sent %q, got %q, %v", text, got, err)
	}
}

func TestWebSocket(t *testing.T) {
	feed := newControllers()
	var log lines
	r := start(t, feed, func(c *router.Config) { c.Log = log.add })
	_, b := app(t, "one", websocketEcho)
	feed.set(routeTo("app.example.com", "", b))
	r.routed(t, "app.example.com", 200)
	c, in := upgradeAt(t, r, "app.example.com")
	echoed(t, c, in, "hello")
	// A withdrawal keeps new ones away and leaves this one.
	if err := r.Withdraw(t.Context(), routing.Withdrawal{AllocID: "one", Address: b.Address}); err != nil {
		t.Fatal(err)
	}
	r.routed(t, "app.example.com", 503)
	echoed(t, c, in, "still here")
	c.Close()
	eventually(t, "logged", func() bool {
		for _, l := range log.get() {
			if strings.Contains(string(l.Message), `"GET /ws HTTP/1.1" 101 `) {
				return true
			}
		}
		return false
	})
}

// TestUpgradeToHTTP2IsNotPassedOn: a client that got an app to switch would send
// it requests that no router has seen.
func TestUpgradeToHTTP2IsNotPassedOn(t *testing.T) {
	feed := newControllers()
	r := start(t, feed, nil)
	got := make(chan http.Header, 10)
	_, b := app(t, "one", func(_ http.ResponseWriter, req *http.Request) { got <- req.Header.Clone() })
	feed.set(routeTo("app.example.com", "", b))
	eventually(t, "route", func() bool { return r.Position().Version == 1 })
	a := r.raw(t, "GET / HTTP/1.1\r\nHost: app.example.com\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n")
	h := <-got
	if a.StatusCode != http.StatusOK || h.Get("Upgrade") != "" || h.Get("Connection") != "" || h.Get("Http2-Settings") != "" {
		t.Errorf("%d, the app gets %v", a.StatusCode, h)
	}
}

func TestStreaming(t *testing.T) {
	feed := newControllers()
	r := start(t, feed, nil)
	next := make(chan struct{})
	_, b := app(t, "one", func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/stream" {
			return
		}
		w.Header().Set("Content-Length", "10") // no sign of a stream
		for range 2 {
			io.WriteString(w, "12345")
			http.NewResponseController(w).Flush()
			<-next
		}
	})
	feed.set(routeTo("app.example.com", "", b))
	r.routed(t, "app.example.com", 200)
	res, err := r.client().Get("http://app.example.com/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for range 2 {
		got := make([]byte, 5)
		if _, err := io.ReadFull(res.Body, got); err != nil {
			t.Fatal(err)
		}
		next <- struct{}{}
	}
}

func TestBadRequests(t *testing.T) {
	feed := newControllers()
	r := start(t, feed, func(c *router.Config) { c.Limits.HeaderBytes = 8 << 10 })
	_, b := app(t, "one", func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		fmt.Fprintf(w, "%s %s %d %v %s", req.Method, req.Host, req.ContentLength, req.TransferEncoding, body)
	})
	feed.set(routeTo("app.example.com", "", b))
	r.routed(t, "app.example.com", 200)
	const host = "Host: app.example.com\r\n"
	tests := []struct {
		name, request string
		status        int
		text          string // "" any
	}{
		{"two hosts", "GET / HTTP/1.1\r\n" + host + "Host: other.example.com\r\n\r\n", 400, ""},
		{"no host", "GET / HTTP/1.1\r\n\r\n", 400, ""},
		{"empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, ""},
		{"no host in 1.0", "GET / HTTP/1.0\r\n\r\n", 400, "400 Bad Request: Request had empty Host header\n"},
		{"absolute URI wins", "GET http://app.example.com/ HTTP/1.1\r\nHost: other.example.com\r\n\r\n", 200, "GET app.example.com 0 [] "},
		{"length and chunks", "POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n", 200, "POST app.example.com -1 [chunked] 12345"},
		{"two lengths", "POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\nContent-Length: 4\r\n\r\n1234", 400, ""},
		{"odd transfer encoding", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501, ""},
		{"two transfer encodings", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 501, ""},
		{"space before colon", "GET / HTTP/1.1\r\n" + host + "Content-Length : 3\r\n\r\n", 400, ""},
		{"folded header", "GET / HTTP/1.1\r\n" + host + " x: y\r\n\r\n", 400, ""},
		{"bad chunk", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, ""},
		{"CONNECT", "CONNECT app.example.com:80 HTTP/1.1\r\n" + host + "\r\n", 405, ""},
		{"long header", "GET / HTTP/1.1\r\n" + host + "X: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", 431, ""},
		{"expect", "POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n", 100, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := r.raw(t, tt.request)
			if got.StatusCode != tt.status && (tt.name != "bad chunk" || got.StatusCode/100 == 2) {
				t.Errorf("got %d %q", got.StatusCode, got.text)
			}
			if tt.text != "" && got.text != tt.text {
				t.Errorf("got %q, want %q", got.text, tt.text)
			}
		})
	}
}

func TestErrorPages(t *testing.T) {
	r := start(t, newControllers(), nil)
	eventually(t, "snapshot", func() bool { return r.Position().Term > 0 })
	plain := r.get(t, "http://nowhere.example.com/", "Accept", "*/*")
	page := r.get(t, "http://nowhere.example.com/", "Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	for _, a := range []answer{plain, page} {
		if a.StatusCode != http.StatusNotFound || a.Header.Get("X-Cf-RouterError") != "unknown_route" || a.Header.Get("Cache-Control") != "public,max-age=2" {
			t.Errorf("%d %v", a.StatusCode, a.Header)
		}
	}
	if want := "404 Not Found: Requested route ('nowhere.example.com') does not exist.\n"; plain.text != want {
		t.Errorf("got %q, want %q", plain.text, want)
	}
	if !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") || !strings.Contains(page.text, "&#39;nowhere.example.com&#39;") {
		t.Errorf("got %v\n%s", page.Header, page.text)
	}
	if strings.Contains(page.text, "%!") || !strings.Contains(page.text, page.Header.Get("X-Vcap-Request-Id")) {
		t.Errorf("bad page\n%s", page.text)
	}
}

func TestTrustedProxies(t *testing.T) {
	got := make(chan http.Header, 100)
	feed := newControllers()
	r := start(t, feed, func(c *router.Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	_, b := app(t, "one", func(_ http.ResponseWriter, req *http.Request) { got <- req.Header.Clone() })
	feed.set(routeTo("app.example.com", "", b))
	eventually(t, "route", func() bool { return r.Position().Version == 1 })
	r.get(t, "http://app.example.com/", "X-Forwarded-For", "1.2.3.4", "X-Forwarded-Proto", "https", "X-Forwarded-Port", "443", "X-Forwarded-Client-Cert", "c", "X-Vcap-Request-Id", "evil")
	h := <-got
	for name, want := range map[string]string{
		"X-Forwarded-For": "1.2.3.4, 127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "443", "X-Forwarded-Client-Cert": "c", "X-Forwarded-Host": "app.example.com",
	} {
		if h.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, h.Get(name), want)
		}
	}
	if h.Get("X-Vcap-Request-Id") == "evil" {
		t.Error("a client chose the request id")
	}
}

// TestClientBehindProxies: controllers, who count log-ins by address, get the one
// address that trusted proxies vouch for, and nothing that a client wrote.
func TestClientBehindProxies(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		fmt.Fprint(w, strings.Join(req.Header["X-Forwarded-For"], "|"))
	}))
	t.Cleanup(s.Close)
	feed := newControllers()
	feed.system = &routing.System{Hosts: []string{"login.example.com"}, Targets: []string{s.Listener.Addr().String()}}
	r := start(t, feed, nil)
	r.routed(t, "login.example.com", 200)
	trusted := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	for _, test := range []struct {
		trusted        []netip.Prefix
		claimed, wants string
	}{
		{nil, "203.0.113.1", "127.0.0.1"},
		{trusted, "203.0.113.1", "203.0.113.1"},
		{trusted, "198.51.100.1, 203.0.113.1", "203.0.113.1"},
		{trusted, "203.0.113.1, 10.0.0.9", "203.0.113.1"},
		{trusted, "203.0.113.1,10.0.0.9,10.0.0.8", "203.0.113.1"},
		{trusted, "10.0.0.7", "10.0.0.7"},
		{trusted, "203.0.113.1, nonsense", "127.0.0.1"},
		{trusted, "203.0.113.1, nonsense, 10.0.0.9", "10.0.0.9"},
		{trusted, "::ffff:203.0.113.1", "203.0.113.1"},
		{trusted, ",", "127.0.0.1"},
		{trusted, "", "127.0.0.1"},
	} {
		r.SetBalancers(test.trusted, false)
		if got := r.get(t, "http://login.example.com/", "X-Forwarded-For", test.claimed); got.text != test.wants {
			t.Errorf("%q, trusted %v: the controller sees %q, want %q", test.claimed, test.trusted != nil, got.text, test.wants)
		}
	}
}

// TestHostsThatAreNone: what an HTTP/2 client may write as the authority and is
// no host of a route reaches no app, and does not look like a line of the log.
func TestHostsThatAreNone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "access.log")
	feed := newControllers()
	r := start(t, feed, func(c *router.Config) { c.AccessLog = file })
	_, b := app(t, "one", func(_ http.ResponseWriter, req *http.Request) { t.Errorf("an app was asked as %q", req.Host) })
	feed.set(routeTo("app.example.com", "", b))
	eventually(t, "route", func() bool { return r.Position().Version == 1 })
	for _, host := range []string{
		"app.example.com:80@evil.example.com", "app.example.com:80 - [2026-01-01T00:00:00Z] \"GET /lie HTTP/1.1\" 200", "app.example.com/x", "app.example.com:x",
		"[::1]:80", "app..example.com", " app.example.com", "app.example.com,evil.example.com",
	} {
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Host = host
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, req)
		if w.Code != http.StatusNotFound || w.Header().Get("X-Cf-Routererror") != "unknown_route" {
			t.Errorf("%q: %d", host, w.Code)
		}
	}
	var text string
	eventually(t, "lines", func() bool {
		data, _ := os.ReadFile(file)
		text = string(data)
		return strings.Count(text, "\n") == 8
	})
	for line := range strings.Lines(text) {
		if strings.Contains(line, ` "GET /lie`) {
			t.Errorf("a host looks like a request: %s", line)
		}
	}
}

// TestSystemHostsByTLS: controllers are reached by mutual TLS with HTTP/2.
func TestSystemHostsByTLS(t *testing.T) {
	server, client := certificate(t, "controller"), certificate(t, "router")
	roots, clients := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(server.Leaf)
	clients.AddCert(client.Leaf)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Upgrade") != "" {
			websocketEcho(w, req)
			return
		}
		n, _ := io.Copy(io.Discard, req.Body)
		fmt.Fprint(w, req.Proto, " ", req.TLS.PeerCertificates[0].Subject.CommonName, " ", req.Host, " ", n)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{*server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	feed := newControllers()
	feed.system = &routing.System{Hosts: []string{"api.example.com", "app.example.com"}, Targets: []string{s.Listener.Addr().String()}}
	r := start(t, feed, func(c *router.Config) {
		c.SystemTLS = &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{*client}}
	})
	r.routed(t, "api.example.com", 200)
	got := r.do(t, http.MethodPut, "http://api.example.com/", strings.NewReader(strings.Repeat("x", 3<<20)))
	if want := "HTTP/2.0 router api.example.com 3145728"; got.text != want {
		t.Errorf("got %q, want %q", got.text, want)
	}
	c, in := upgradeAt(t, r, "app.example.com")
	echoed(t, c, in, "over TLS")
}
