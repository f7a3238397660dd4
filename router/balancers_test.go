package router_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stackato/stackato/router"
)

const (
	proxyOne   = "PROXY TCP4 203.0.113.9 198.51.100.1 40000 80\r\n"
	proxyOther = "PROXY UNKNOWN\r\n"
)

// proxyTwo is version 2 of the same.
var proxyTwo = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + "\xcb\x00\x71\x09" + "\xc6\x33\x64\x01" + "\x9c\x40" + "\x00\x50"

// say writes what a client sends on a new connection, and returns the status
// and what the app saw, or an error if the router hangs up.
func say(t *testing.T, address, head string, overTLS bool) (int, string, error) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, head); err != nil {
		return 0, "", err
	}
	if overTLS {
		conn = tls.Client(conn, &tls.Config{ServerName: "app.example.com", InsecureSkipVerify: true}) //nolint:gosec // not what is tested
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: app.example.com\r\nX-Forwarded-Proto: gopher\r\nConnection: close\r\n\r\n"); err != nil {
		return 0, "", err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}

// TestProxyProtocol: the client's address comes from a balancer's header, in
// front of TLS as well, and from nobody else's; a balancer without one is not
// served. All of it changes while the router runs.
func TestProxyProtocol(t *testing.T) {
	cert := certificate(t, "app.example.com")
	certs := router.Certificates{Default: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil }}
	feed := newControllers()
	_, b := app(t, "one", func(w http.ResponseWriter, req *http.Request) {
		fmt.Fprint(w, req.Header.Get("X-Forwarded-For"), " ", req.Header.Get("X-Forwarded-Proto"))
	})
	feed.set(routeTo("app.example.com", "", b))
	r := start(t, feed, func(c *router.Config) { c.HTTPSListener, c.Certificates = loopback(t), certs.Get })
	r.routed(t, "app.example.com", 200)
	here := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	elsewhere := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	for _, test := range []struct {
		name    string
		trusted []netip.Prefix
		header  bool
		head    string
		want    string // what the app sees, "" is not served
	}{
		{"off", nil, false, "", "127.0.0.1 http"},
		{"off, and one comes", here, false, proxyOne, ""},
		{"on", here, true, proxyOne, "203.0.113.9 http"},
		{"version 2", here, true, proxyTwo, "203.0.113.9 http"},
		{"on, none comes", here, true, "", ""},
		{"on, names no client", here, true, "PROXY TCP4 nonsense\r\n", ""},
		{"on, from a stranger", elsewhere, true, proxyOne, ""},
		{"on, a stranger without", elsewhere, true, "", "127.0.0.1 http"},
		// Behind the balancer is a client that is one of the trusted by its address.
		{"on, the client is trusted", append(here, elsewhere...), true, proxyOne, "203.0.113.9 gopher"},
		{"headers only", here, false, "", "127.0.0.1 gopher"},
		{"off again", nil, false, "", "127.0.0.1 http"},
	} {
		r.SetBalancers(test.trusted, test.header)
		for _, overTLS := range []bool{false, true} {
			address, want := r.http, test.want
			if overTLS {
				address = r.https
				if want == "127.0.0.1 http" || want == "203.0.113.9 http" {
					want += "s"
				}
			}
			status, got, err := say(t, address, test.head, overTLS)
			if served := err == nil && status == 200; served != (want != "") || served && got != want {
				t.Errorf("%s, TLS %v: %d %q %v, want %q", test.name, overTLS, status, got, err, want)
			}
		}
	}
	// The balancer's own health checks name nobody: they come from itself.
	r.SetBalancers(here, true)
	for _, head := range []string{proxyOther, "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"} {
		if status, got, err := say(t, r.http, head, false); status != 200 || got != "127.0.0.1 gopher" {
			t.Errorf("a health check: %d, %q, %v", status, got, err)
		}
	}
}

// TestCertificatesChange: other certificates are shown from the next handshake
// on; a connection from before goes on.
func TestCertificatesChange(t *testing.T) {
	usual, own := certificate(t, "default.example.com"), certificate(t, "app.example.com")
	certs := router.Certificates{Default: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return usual, nil }}
	feed := newControllers()
	_, b := app(t, "one", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	feed.set(routeTo("app.example.com", "", b))
	r := start(t, feed, func(c *router.Config) { c.HTTPSListener, c.Certificates = loopback(t), certs.Get })
	r.routed(t, "app.example.com", 200)
	dial := func(want string) *tls.Conn {
		t.Helper()
		c, err := tls.Dial("tcp", r.https, &tls.Config{ServerName: "app.example.com", InsecureSkipVerify: true}) //nolint:gosec // looks at the name itself
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if got := c.ConnectionState().PeerCertificates[0].Subject.CommonName; got != want {
			t.Errorf("the certificate of %s is shown, want %s", got, want)
		}
		return c
	}
	first := dial("default.example.com")
	certs.Set(nil, map[string]*tls.Certificate{"app.example.com": own})
	second := dial("app.example.com")
	certs.Set(nil, nil)
	dial("default.example.com")
	for _, c := range []*tls.Conn{first, second} {
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: app.example.com\r\nConnection: close\r\n\r\n")
		if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("a connection from before: %v, %v", res, err)
		}
	}
}
