package rpc_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is a CA, a nodes table and a clock: what nodes agree on.
type cluster struct {
	t  testing.TB
	id string
	ca *pki.CA

	mu      sync.Mutex
	now     time.Time
	nodes   map[node.ID]node.Node
	primary node.ID
	roots   []*x509.Certificate
}

func newCluster(t testing.TB, id string) *cluster {
	t.Helper()
	now := time.Now()
	ca, err := pki.NewCA(id, pki.ClusterCA, now)
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{t: t, id: id, ca: ca, now: now, nodes: map[node.ID]node.Node{}, roots: []*x509.Certificate{ca.Cert()}}
}

func (c *cluster) Lookup(id node.ID) (node.Node, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, ok := c.nodes[id]
	return n, ok
}

func (c *cluster) Primary() node.ID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.primary
}

func (c *cluster) setRoles(id node.ID, roles ...node.Role) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[id]
	n.Roles = node.NewRoleSet(roles...)
	c.nodes[id] = n
}

func (c *cluster) remove(id node.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.nodes, id)
}

func (c *cluster) setPrimary(id node.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.primary = id
}

func (c *cluster) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *cluster) setRoots(roots ...*x509.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.roots = roots
}

// creds are a node's credentials in the cluster.
type creds struct {
	*cluster
	id   node.ID
	mu   sync.Mutex
	cert *tls.Certificate
}

func (c *creds) Certificate() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cert
}

func (c *creds) Roots() []*x509.Certificate {
	c.cluster.mu.Lock()
	defer c.cluster.mu.Unlock()
	return c.roots
}

func (c *creds) ClusterID() string { return c.cluster.id }

func (c *creds) Now() time.Time {
	c.cluster.mu.Lock()
	defer c.cluster.mu.Unlock()
	return c.now
}

// renew gives the node a new certificate that lasts d from the cluster's now.
func (c *creds) renew(d time.Duration) {
	c.t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		c.t.Fatal(err)
	}
	csr, err := pki.CSR(key, c.id)
	if err != nil {
		c.t.Fatal(err)
	}
	certPEM, err := pki.Issue(c.ca, csr, pki.Request{
		ID: c.id, Name: "n", Address: netip.MustParseAddr("127.0.0.1"), Now: c.Now(), Lifetime: d,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	keyPEM, err := pki.EncodeKey(key)
	if err != nil {
		c.t.Fatal(err)
	}
	cert, err := pki.TLSCertificate(certPEM, keyPEM, c.ca.Cert())
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cert = cert
}

// join makes a member with these roles.
func (c *cluster) join(roles ...node.Role) *creds {
	c.t.Helper()
	out := &creds{cluster: c, id: node.NewID()}
	out.renew(24 * time.Hour)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[out.id] = node.Node{ID: out.id, Name: "n-" + string(out.id[:4]), Roles: node.NewRoleSet(roles...)}
	return out
}

// server is a running server.
type server struct {
	*rpc.Server
	creds *creds
	stop  func()
}

// start runs a server of the node; register adds methods.
func start(t testing.TB, c *creds, register func(*rpc.Server), edit ...func(*rpc.Config)) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := rpc.Config{
		Listener: l, Credentials: c, Members: c.cluster, Logger: slog.New(slog.DiscardHandler),
		AnonymousRate: 1000, AnonymousBurst: 1000, Grace: 200 * time.Millisecond,
	}
	for _, e := range edit {
		e(&cfg)
	}
	s, err := rpc.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	register(s)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("server: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the server does not stop")
		}
	})
	t.Cleanup(stop)
	return &server{Server: s, creds: c, stop: stop}
}

func (s *server) target() rpc.Target { return rpc.Target{ID: s.creds.id, Addr: s.Addr().String()} }

func client(t testing.TB, c rpc.Credentials, edit ...func(*rpc.ClientConfig)) *rpc.Client {
	t.Helper()
	var cfg rpc.ClientConfig
	for _, e := range edit {
		e(&cfg)
	}
	out := rpc.NewClient(c, cfg)
	t.Cleanup(out.Close)
	return out
}

func anonymous(t testing.TB, c *cluster, digest string) *rpc.Client {
	t.Helper()
	out := rpc.NewAnonymousClient(digest, (&creds{cluster: c}).Now, rpc.ClientConfig{})
	t.Cleanup(out.Close)
	return out
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

type text struct {
	Text string `json:"text"`
}

var echo = rpc.Method[text, text]{Name: "test.echo", Callers: rpc.Member}

func registerEcho(s *rpc.Server) {
	rpc.Handle(s, echo, func(_ context.Context, _ rpc.Caller, req *text) (*text, error) { return req, nil })
}
