package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/node"
)

// maxHandshakes bounds connections that have not finished their handshake.
const maxHandshakes = 256

// peer is what the handshake said about the other side of a connection.
type peer struct {
	conn      net.Conn // what closes the connection
	remote    netip.Addr
	anonymous bool         // showed no certificate
	identity  pki.Identity // of a good certificate
	err       error        // why the certificate is not good
}

func (p *peer) known() bool { return !p.anonymous && p.err == nil }

type peerKey struct{}

// accept takes connections until the listener is closed, and waits for the
// goroutines that shake hands.
func (s *Server) accept(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, maxHandshakes)
	conf := s.tlsConfig()
	for {
		raw, err := s.cfg.Listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return err
			}
			s.log.Warn("cannot accept a connection, trying again", "err", err) // too many files, mostly
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(100 * time.Millisecond):
				continue
			}
		}
		select {
		case slots <- struct{}{}:
		default:
			raw.Close()
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			s.welcome(ctx, raw, conf)
		})
	}
}

func (s *Server) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{"h2", RaftProtocol},
		ClientAuth:             tls.RequestClientCert, // judged in newPeer: a reason can be told only after the handshake
		SessionTicketsDisabled: true,                  // a resumed session would skip the certificate
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if cert := s.cfg.Credentials.Certificate(); cert != nil {
				return cert, nil
			}
			return nil, errors.New("this node has no certificate yet")
		},
	}
}

// welcome shakes hands, finds out who it is and hands the connection over.
func (s *Server) welcome(ctx context.Context, raw net.Conn, conf *tls.Config) {
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(keepAlive) // fails only on a closed connection
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn := tls.Server(raw, conf)
	if err := conn.HandshakeContext(ctx); err != nil {
		s.log.Debug("handshake failed", "remote", raw.RemoteAddr(), "err", err)
		raw.Close()
		return
	}
	p := s.newPeer(conn)
	if !s.conns.add(conn, p) {
		s.log.Debug("too many anonymous connections", "remote", p.remote)
		conn.Close()
		return
	}
	switch conn.ConnectionState().NegotiatedProtocol {
	case "h2":
		if !s.h2.give(ctx, conn) {
			s.conns.remove(conn)
			conn.Close()
		}
	case RaftProtocol:
		s.welcomeRaft(ctx, conn, p)
	default:
		s.conns.remove(conn)
		conn.Close()
	}
}

// newPeer judges the certificate of a connection. An expired one is still an
// identity: what it may do is decided at each call.
func (s *Server) newPeer(conn *tls.Conn) *peer {
	p := &peer{conn: conn}
	if ap, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
		p.remote = ap.Addr().Unmap()
	}
	chain := conn.ConnectionState().PeerCertificates
	if len(chain) == 0 {
		p.anonymous = true
		return p
	}
	c := s.cfg.Credentials
	p.identity, p.err = pki.Verify(chain, c.Roots(), c.ClusterID(), c.Now(), pki.Options{AllowExpired: true})
	if p.err != nil {
		s.log.Warn("certificate refused", "remote", p.remote, "err", p.err)
	}
	return p
}

// keepAlive finds a peer that vanished without a word where nothing else does.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}

// connSet holds the connections that are open, so that they can be found by
// node and closed.
type connSet struct {
	maxAnonymous int

	mu        sync.Mutex
	closed    bool
	conns     map[net.Conn]*peer
	anonymous map[netip.Addr]int
	total     int // of anonymous
}

func newConnSet(maxAnonymous int) *connSet {
	return &connSet{maxAnonymous: maxAnonymous, conns: map[net.Conn]*peer{}, anonymous: map[netip.Addr]int{}}
}

// add reports false if the set is closed or full.
func (s *connSet) add(c net.Conn, p *peer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if !p.known() {
		if s.total >= s.maxAnonymous || s.anonymous[p.remote] >= max(1, s.maxAnonymous/4) {
			return false
		}
		s.total++
		s.anonymous[p.remote]++
	}
	s.conns[c] = p
	return true
}

func (s *connSet) get(c net.Conn) *peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[c]
}

func (s *connSet) remove(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.conns[c]
	if p == nil {
		return
	}
	delete(s.conns, c)
	if !p.known() {
		s.total--
		if s.anonymous[p.remote]--; s.anonymous[p.remote] == 0 {
			delete(s.anonymous, p.remote)
		}
	}
}

func (s *connSet) closeOf(id node.ID) int {
	s.mu.Lock()
	var found []net.Conn
	for c, p := range s.conns {
		if p.known() && p.identity.ID == id {
			found = append(found, c)
		}
	}
	s.mu.Unlock()
	for _, c := range found {
		s.remove(c)
		closeNow(c)
	}
	return len(found)
}

func (s *connSet) closeAll() {
	s.mu.Lock()
	s.closed = true
	conns := s.conns
	s.conns = map[net.Conn]*peer{}
	s.mu.Unlock()
	for c := range conns {
		closeNow(c)
	}
}

// closeNow closes without TLS's goodbye, which can wait for a dead peer.
func closeNow(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		t.NetConn().Close()
		return
	}
	c.Close()
}

// CloseConnsOf closes every open connection of a node, calls and Raft. Use it
// when a node is removed or loses the controller role. It returns how many.
func (s *Server) CloseConnsOf(id node.ID) int { return s.conns.closeOf(id) }

// handoff is a net.Listener that is given its connections.
type handoff struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newHandoff(addr net.Addr) *handoff {
	return &handoff{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// give waits until somebody accepts the connection.
func (h *handoff) give(ctx context.Context, c net.Conn) bool {
	select {
	case h.conns <- c:
		return true
	case <-h.done:
	case <-ctx.Done():
	}
	return false
}

// Accept returns the next connection, net.ErrClosed after Close.
func (h *handoff) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close makes Accept return; it may be called more than once.
func (h *handoff) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

// Addr is the address of the server.
func (h *handoff) Addr() net.Addr { return h.addr }
