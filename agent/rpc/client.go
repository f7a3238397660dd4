package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

// ErrWrongDigest says that the node which answered has no certificate of the
// CA whose digest the join token carries.
var ErrWrongDigest = errors.New("wrong CA digest")

// Target is the node to call.
type Target struct {
	ID   node.ID // must be in its certificate; "" accepts any node of the cluster
	Addr string  // host:port
}

// String names the target in messages.
func (t Target) String() string {
	if t.ID == "" {
		return t.Addr
	}
	return string(t.ID) + " at " + t.Addr
}

// ClientConfig configures a client. The zero value is usable.
type ClientConfig struct {
	// Observe is called after each call, as Config.Observe. May be nil.
	Observe func(Event)
	// Dial opens the TCP connection; a net.Dialer if nil.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// DialTimeout bounds connecting and the handshake. 3 s if zero.
	DialTimeout time.Duration
	// PingInterval after which a silent connection is checked, and
	// PingTimeout after which it counts as dead and its calls fail. 1 s each
	// if zero.
	PingInterval, PingTimeout time.Duration
	// IdleTimeout after which an unused connection is closed. 90 s if zero.
	IdleTimeout time.Duration
}

// Client calls nodes. It keeps one HTTP/2 connection for each target, replaces
// them when the node's own certificate changes, and is safe for concurrent
// use. Close it when done.
type Client struct {
	cfg         ClientConfig
	certificate func() *tls.Certificate // nil result: show none
	verify      func(cs tls.ConnectionState, want node.ID) error

	closing context.Context
	close   context.CancelFunc

	mu        sync.Mutex
	transport *http.Transport
	leaf      *x509.Certificate // what transport's connections show
	conns     map[*trackedConn]struct{}
}

// NewClient makes a client that shows the node's certificate and accepts only
// nodes of its cluster.
func NewClient(creds Credentials, cfg ClientConfig) *Client {
	return newClient(cfg, creds.Certificate, func(cs tls.ConnectionState, want node.ID) error {
		id, err := pki.Verify(cs.PeerCertificates, creds.Roots(), creds.ClusterID(), creds.Now(), pki.Options{})
		if err != nil {
			return rpcerr.New(rpcerr.Unauthenticated, "%w", err)
		}
		return checkTarget(id.ID, want)
	})
}

// NewAnonymousClient makes a client for a machine that is in no cluster yet.
// It shows no certificate, and accepts a node whose certificate is signed by
// the CA with the given pki.Digest, which the node sends along. now is the
// clock.
func NewAnonymousClient(digest string, now func() time.Time, cfg ClientConfig) *Client {
	return newClient(cfg, func() *tls.Certificate { return nil }, func(cs tls.ConnectionState, want node.ID) error {
		i := slices.IndexFunc(cs.PeerCertificates, func(c *x509.Certificate) bool { return c.IsCA && pki.Digest(c) == digest })
		if i < 0 {
			return rpcerr.New(rpcerr.Unauthenticated, "%w: the node that answered is not of the cluster that made the token", ErrWrongDigest).
				WithHint("check the address, or make a new token there (after a change of the CA old tokens end): kato token create")
		}
		ca := cs.PeerCertificates[i]
		id, err := pki.Verify(cs.PeerCertificates, []*x509.Certificate{ca}, pki.ClusterIDOf(ca), now(), pki.Options{})
		if err != nil {
			return rpcerr.New(rpcerr.Unauthenticated, "%w", err)
		}
		return checkTarget(id.ID, want)
	})
}

func checkTarget(got, want node.ID) error {
	if want != "" && got != want {
		return rpcerr.New(rpcerr.Unauthenticated, "node %s answers where %s was expected", got, want).
			WithHint("the address belongs to another node now")
	}
	return nil
}

func newClient(cfg ClientConfig, certificate func() *tls.Certificate, verify func(tls.ConnectionState, node.ID) error) *Client {
	cfg.DialTimeout = orDefault(cfg.DialTimeout, 3*time.Second)
	cfg.PingInterval = orDefault(cfg.PingInterval, time.Second)
	cfg.PingTimeout = orDefault(cfg.PingTimeout, time.Second)
	cfg.IdleTimeout = orDefault(cfg.IdleTimeout, 90*time.Second)
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{KeepAliveConfig: keepAlive}).DialContext
	}
	c := &Client{cfg: cfg, certificate: certificate, verify: verify, conns: map[*trackedConn]struct{}{}}
	c.closing, c.close = context.WithCancel(context.Background())
	return c
}

// Close ends running calls and closes every connection, those of Raft too.
// Later calls fail. It may be called more than once.
func (c *Client) Close() {
	c.close()
	c.mu.Lock()
	conns := c.conns
	c.conns = map[*trackedConn]struct{}{}
	transport := c.transport
	c.mu.Unlock()
	if transport != nil {
		transport.CloseIdleConnections()
	}
	for conn := range conns {
		conn.Conn.Close()
	}
}

// current returns the transport whose connections show the present
// certificate. After a renewal old connections end when they fall idle.
func (c *Client) current() *http.Transport {
	var leaf *x509.Certificate
	if cert := c.certificate(); cert != nil {
		leaf = cert.Leaf
	}
	c.mu.Lock()
	var old *http.Transport
	if c.transport == nil || c.leaf != leaf {
		old = c.transport
		c.transport, c.leaf = c.newTransport(), leaf
	}
	out := c.transport
	c.mu.Unlock()
	if old != nil {
		old.CloseIdleConnections() // not under the lock: connections take it to be forgotten
	}
	return out
}

func (c *Client) newTransport() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	return &http.Transport{
		DialTLSContext: func(ctx context.Context, _, host string) (net.Conn, error) {
			t, err := parsePoolKey(host)
			if err != nil {
				return nil, err
			}
			return c.dial(ctx, t, "h2")
		},
		Protocols:         protocols,
		ForceAttemptHTTP2: true,
		IdleConnTimeout:   c.cfg.IdleTimeout,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:  c.cfg.PingInterval,
			PingTimeout:      c.cfg.PingTimeout,
			WriteByteTimeout: c.cfg.PingInterval + c.cfg.PingTimeout,
		},
	}
}

// dialError says that no connection came about: nothing was sent.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// dial connects, shakes hands and checks who answers.
func (c *Client) dial(ctx context.Context, t Target, proto string) (_ *tls.Conn, err error) {
	defer func() {
		if err != nil {
			err = &dialError{err}
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, c.cfg.DialTimeout)
	defer cancel()
	defer context.AfterFunc(c.closing, cancel)()
	raw, err := c.cfg.Dial(ctx, "tcp", t.Addr)
	if err != nil {
		return nil, err
	}
	tracked, err := c.track(raw)
	if err != nil {
		raw.Close()
		return nil, err
	}
	conn := tls.Client(tracked, c.tlsConfig(t, proto))
	if err := conn.HandshakeContext(ctx); err != nil {
		tracked.Close()
		return nil, err
	}
	return conn, nil
}

func (c *Client) tlsConfig(t Target, proto string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{proto},
		// Certificates name nodes, not hosts: VerifyConnection checks what
		// the usual verification cannot.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if cs.NegotiatedProtocol != proto {
				return fmt.Errorf("the other side does not speak %s", proto)
			}
			return c.verify(cs, t.ID)
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if cert := c.certificate(); cert != nil {
				return cert, nil
			}
			return new(tls.Certificate), nil
		},
	}
}

// trackedConn is a TCP connection that the client knows, to close it.
type trackedConn struct {
	net.Conn
	client *Client
}

func (c *Client) track(raw net.Conn) (*trackedConn, error) {
	t := &trackedConn{Conn: raw, client: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing.Err() != nil {
		return nil, net.ErrClosed
	}
	c.conns[t] = struct{}{}
	return t, nil
}

// Close closes the connection and forgets it.
func (t *trackedConn) Close() error {
	t.client.mu.Lock()
	delete(t.client.conns, t)
	t.client.mu.Unlock()
	return t.Conn.Close()
}

// poolKey is the host under which net/http pools connections: node and
// address, because a connection is good for one node only.
func (t Target) poolKey() string {
	return string(t.ID) + "." + hex.EncodeToString([]byte(t.Addr)) + ".node:443"
}

func parsePoolKey(host string) (Target, error) {
	id, rest, _ := strings.Cut(host, ".")
	addr, err := hex.DecodeString(strings.TrimSuffix(rest, ".node:443"))
	return Target{ID: node.ID(id), Addr: string(addr)}, err
}
