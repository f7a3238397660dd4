package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// outsideName is a host that only the proxy finds.
const outsideName = "outside.example.com"

// outside is the world beyond the cluster: a web server whose certificate is of
// an authority that nobody knows, and an HTTP proxy that leads to it and to the
// internet. The server answers for the Python Package Index, too.
type outside struct {
	site   string // https://ADDRESS:PORT
	addr   string
	proxy  string // http://ADDRESS:PORT
	caFile string
	repos  string // bare git repositories, below /git/
	pypi   *pypi

	mu      sync.Mutex
	proxied []string
}

// startOutside lets the world listen where the containers of the cluster can
// reach it: at the gateway of its network.
func (c *cloud) startOutside(t *testing.T) *outside {
	t.Helper()
	gateway := net.ParseIP(c.Node(0).Address).To4()
	gateway[3] = 1
	return newOutside(t, gateway)
}

func newOutside(t *testing.T, gateway net.IP) *outside {
	t.Helper()
	o := &outside{repos: t.TempDir(), caFile: filepath.Join(t.TempDir(), "ca.pem"), pypi: newPyPI(t)}

	cert := o.certificate(t, gateway)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello from outside") })
	// Who asks: the proxy, or a node.
	mux.HandleFunc("GET /client", func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprint(w, host)
	})
	o.pypi.serve(mux)
	if git, err := exec.LookPath("git"); err == nil {
		mux.Handle("/git/", &cgi.Handler{
			Path: git, Args: []string{"http-backend"}, Root: "/git",
			Env: []string{"GIT_PROJECT_ROOT=" + o.repos, "GIT_HTTP_EXPORT_ALL=1"},
		})
	}
	site := httptest.NewUnstartedServer(mux)
	site.Listener.Close()
	site.Listener = listen(t, gateway)
	site.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	site.StartTLS()
	t.Cleanup(site.Close)
	o.addr = site.Listener.Addr().String()
	o.site = "https://" + o.addr

	proxy := httptest.NewUnstartedServer(http.HandlerFunc(o.serveProxy))
	proxy.Listener.Close()
	proxy.Listener = listen(t, gateway)
	proxy.Start()
	t.Cleanup(proxy.Close)
	o.proxy = proxy.URL
	return o
}

func listen(t *testing.T, ip net.IP) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip.String(), "0"))
	must(t, err)
	return l
}

// certificate makes an authority of its own, writes it down, and returns what
// it has signed for the web server.
func (o *outside) certificate(t *testing.T, ip net.IP) tls.Certificate {
	t.Helper()
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(t, err)
		return k
	}
	caKey, siteKey := key(), key()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "An authority of one's own"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	must(t, err)
	must(t, os.WriteFile(o.caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: outsideName},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		DNSNames: []string{outsideName, indexName, filesName}, IPAddresses: []net.IP{ip},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err = x509.CreateCertificate(rand.Reader, leaf, ca, siteKey.Public(), caKey)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: siteKey}
}

// serveProxy serves CONNECT and remembers where to.
func (o *outside) serveProxy(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "only CONNECT", http.StatusMethodNotAllowed)
		return
	}
	o.mu.Lock()
	o.proxied = append(o.proxied, r.Host)
	o.mu.Unlock()
	addr := r.Host
	switch addr {
	case outsideName + ":443", indexName + ":443", filesName + ":443":
		addr = o.addr
	}
	d := net.Dialer{Timeout: 10 * time.Second}
	out, err := d.DialContext(r.Context(), "tcp", addr)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	tunnel(w, out)
}

// tunnel makes the request's connection one with out and ends with either.
func tunnel(w http.ResponseWriter, out net.Conn) {
	defer out.Close()
	in, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer in.Close()
	if _, err := io.WriteString(in, "HTTP/1.1 200 Connected\r\n\r\n"); err != nil {
		return
	}
	go func() {
		defer out.Close()
		_, _ = io.Copy(out, buffered) // ends when either side does
	}()
	_, _ = io.Copy(in, out)
}

// set tells a script where everything is.
func (o *outside) set(env *testscript.Env) {
	env.Setenv("OUTSIDE", o.site)
	env.Setenv("OUTSIDE_NAME", outsideName)
	host, _, _ := net.SplitHostPort(o.addr)
	env.Setenv("OUTSIDE_HOST", host)
	env.Setenv("WORDS_SHA256", o.pypi.digest("words-1.1-py3-none-any.whl"))
	env.Setenv("OUTSIDE_CA", o.caFile)
	env.Setenv("OUTSIDE_PROXY", o.proxy)
	env.Setenv("OUTSIDE_GIT", o.repos)
}

// cmdProxied is proxied PATTERN: the proxy was asked to lead there, since the
// last time that a script wanted to know.
func (c *cloud) cmdProxied(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || c.outside == nil {
		ts.Fatalf("usage: proxied PATTERN, where there is an outside")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	c.outside.mu.Lock()
	seen := c.outside.proxied
	c.outside.proxied = nil
	c.outside.mu.Unlock()
	count := 0
	for _, host := range seen {
		if pattern.MatchString(host) {
			count++
		}
	}
	ts.Logf("the proxy was asked %d times, %d times for %s", len(seen), count, pattern)
	if (count > 0) == neg {
		ts.Fatalf("the proxy was asked for %q", seen)
	}
}

// cmdKato is kato ARGS…, on the first node, with the script's standard input.
func (c *cloud) cmdKato(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec("docker", append([]string{"exec", "-i", c.Node(0).Container, "kato"}, args...)...)
	if (err != nil) != neg {
		ts.Fatalf("kato: %v", err)
	}
}

// scriptKato is kato without input.
func (c *cloud) scriptKato(ctx context.Context, _ *testscript.TestScript, args []string) (string, error) {
	out, err := exec.CommandContext(ctx, "docker", append([]string{"exec", c.Node(0).Container, "kato"}, args...)...).CombinedOutput()
	return string(out), err
}

// TestOutside holds the world of the scripts to what they expect of it.
func TestOutside(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	o := newOutside(t, net.IPv4(127, 0, 0, 1))
	work := filepath.Join(t.TempDir(), "work")
	git := func(args ...string) {
		cmd := exec.Command("git", args...)
		cmd.Env = append(os.Environ(), "https_proxy="+o.proxy, "GIT_SSL_CAINFO="+o.caFile, "GIT_CONFIG_GLOBAL=/dev/null")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git("-c", "init.defaultBranch=main", "init", "--quiet", work)
	git("-C", work, "-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "--quiet", "--allow-empty", "--message", "one")
	git("clone", "--quiet", "--bare", work, filepath.Join(o.repos, "one.git"))
	git("clone", "--quiet", "--depth", "1", "--branch", "main", "https://"+outsideName+"/git/one.git", work+"-2")
	if len(o.proxied) == 0 || o.proxied[0] != outsideName+":443" {
		t.Errorf("the proxy was asked for %q", o.proxied)
	}
}
