package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stackato/stackato/test/cluster"
)

const domain = "stackato.localhost"

// cloud is a cluster that apps can be pushed to.
type cloud struct {
	*cluster.Cluster
	root     string // of the repository
	proxy    string // URL of what leads every name to a router
	caFile   string // authority of the router's certificate
	password string // of admin
	image    string
	// avoid is a node that no request is led to, nil for none.
	avoid atomic.Pointer[cluster.Node]
	// outside is the world beyond the cluster, nil for none.
	outside *outside
}

// newCloud makes a cluster that lives as long as the test. stack is small or
// full.
func newCloud(t *testing.T, o cluster.Options, stack string) *cloud {
	t.Helper()
	c := newBareCloud(t, o, stack)
	ctx := bounded(t, 2*time.Minute)
	must(t, c.LoadImage(ctx, c.image))
	must(t, c.WaitHealthy(ctx))
	return c
}

// newBareCloud makes one whose nodes do not have the stack's image yet.
func newBareCloud(t *testing.T, o cluster.Options, stack string) *cloud {
	t.Helper()
	cluster.Require(t)
	root, err := filepath.Abs("../..")
	must(t, err)
	c := &cloud{root: root}
	out, err := exec.Command(filepath.Join(root, "scripts/stack"), stack).CombinedOutput()
	if err != nil {
		t.Fatalf("scripts/stack %s: %v\n%s", stack, err, out)
	}
	lines := strings.Fields(string(out))
	c.image = lines[len(lines)-1]

	c.Cluster = cluster.New(t, o)
	ctx := bounded(t, 4*time.Minute)
	must(t, c.Form(ctx))
	n1 := c.Node(0)
	_, err = n1.Kato(ctx, "config", "set", "--string", "cloud/stack_image", c.image)
	must(t, err)
	c.readAdmin(ctx, t, n1)
	c.proxy = c.startProxy(t)
	must(t, c.WaitFor(ctx, "the API to answer", func() error { return c.wants(ctx, "https://api."+domain+"/v3", 200, nil) }))
	return c
}

// readAdmin learns what the first administrator finds on the first node.
func (c *cloud) readAdmin(ctx context.Context, t *testing.T, n *cluster.Node) {
	t.Helper()
	must(t, c.WaitFor(ctx, "the first log-in and the router's authority", func() error {
		text, err := os.ReadFile(n.HostPath(cluster.DataDir + "/admin.txt"))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if p, ok := strings.CutPrefix(line, "password: "); ok {
				c.password = strings.TrimSpace(p)
			}
		}
		ca, err := os.ReadFile(n.HostPath(cluster.DataDir + "/router-ca.crt"))
		if err != nil {
			return err
		}
		if c.password == "" || len(ca) == 0 {
			return errors.New("they are empty")
		}
		c.caFile = filepath.Join(t.TempDir(), "router-ca.crt")
		return os.WriteFile(c.caFile, ca, 0o600)
	}))
}

// dial connects to a router that is on, whatever name addr has.
func (c *cloud) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	last := errors.New("no node is on")
	for _, n := range c.Nodes() {
		if n == c.avoid.Load() || !n.On() {
			continue
		}
		d := net.Dialer{Timeout: time.Second}
		conn, err := d.DialContext(ctx, network, net.JoinHostPort(n.Address, port))
		if err == nil {
			return conn, nil
		}
		last = err
	}
	return nil, last
}

// startProxy serves HTTP CONNECT: cf has no other way to be told where a name
// leads than the machine's hosts file.
func (c *cloud) startProxy(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || !strings.HasSuffix(r.URL.Hostname(), "."+domain) {
			http.Error(w, "only CONNECT to names below "+domain, http.StatusForbidden)
			return
		}
		out, err := c.dial(r.Context(), "tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		tunnel(w, out)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// nomad asks the Nomad of the Primary.
func (c *cloud) nomad(ctx context.Context, path string) (string, error) {
	return c.nomadDo(ctx, http.MethodGet, path, "")
}

// nomadDo is a call with a body.
func (c *cloud) nomadDo(ctx context.Context, method, path, body string) (string, error) {
	n, err := c.Primary(ctx)
	if err != nil {
		return "", err
	}
	tools, err := os.ReadFile(n.HostPath(cluster.DataDir + "/tools.env"))
	if err != nil {
		return "", err
	}
	token := ""
	for line := range strings.Lines(string(tools)) {
		if v, ok := strings.CutPrefix(strings.TrimPrefix(line, "export "), "NOMAD_TOKEN="); ok {
			token = strings.Trim(strings.TrimSpace(v), `'"`)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://127.0.0.1:4646"+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("X-Nomad-Token", token)
	client := http.Client{Transport: &http.Transport{DialContext: n.Dial, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("nomad %s: %s: %s", path, resp.Status, b)
	}
	return string(b), err
}

// bounded is the test's context with an end.
func bounded(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
