package member

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// link is a transport that counts and that ends its connections when it is
// shut down.
type link interface {
	memberlist.NodeAwareTransport
	traffic() Traffic
}

// Traffic counts what a member sent and received since its start: encrypted
// payload, without IP, UDP and TCP headers.
type Traffic struct {
	PacketsSent         uint64 `json:"packets_sent"`
	PacketsReceived     uint64 `json:"packets_received"`
	PacketBytesSent     uint64 `json:"packet_bytes_sent"`
	PacketBytesReceived uint64 `json:"packet_bytes_received"`
	StreamsOpened       uint64 `json:"streams_opened"` // by this member
	StreamBytesSent     uint64 `json:"stream_bytes_sent"`
	StreamBytesReceived uint64 `json:"stream_bytes_received"`
}

// meter counts traffic and holds the open connections.
type meter struct {
	packetsOut, packetsIn, packetBytesOut, packetBytesIn atomic.Uint64
	streams, streamBytesOut, streamBytesIn               atomic.Uint64

	mu     sync.Mutex
	conns  map[*meteredConn]struct{}
	closed bool
}

func (m *meter) traffic() Traffic {
	return Traffic{
		PacketsSent: m.packetsOut.Load(), PacketsReceived: m.packetsIn.Load(),
		PacketBytesSent: m.packetBytesOut.Load(), PacketBytesReceived: m.packetBytesIn.Load(),
		StreamsOpened:   m.streams.Load(),
		StreamBytesSent: m.streamBytesOut.Load(), StreamBytesReceived: m.streamBytesIn.Load(),
	}
}

func (m *meter) sent(n int) {
	m.packetsOut.Add(1)
	m.packetBytesOut.Add(uint64(n))
}

func (m *meter) received(n int) {
	m.packetsIn.Add(1)
	m.packetBytesIn.Add(uint64(n))
}

// hold makes c counted, and closed by closeAll.
func (m *meter) hold(c net.Conn) net.Conn {
	mc := &meteredConn{Conn: c, m: m}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		_ = c.Close()
		return mc
	}
	if m.conns == nil {
		m.conns = map[*meteredConn]struct{}{}
	}
	m.conns[mc] = struct{}{}
	return mc
}

func (m *meter) closeAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	for c := range m.conns {
		_ = c.Conn.Close()
	}
	m.conns = nil
}

type meteredConn struct {
	net.Conn
	m *meter
}

func (c *meteredConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.m.streamBytesIn.Add(uint64(n))
	return n, err
}

func (c *meteredConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.m.streamBytesOut.Add(uint64(n))
	return n, err
}

func (c *meteredConn) Close() error {
	c.m.mu.Lock()
	delete(c.m.conns, c)
	c.m.mu.Unlock()
	return c.Conn.Close()
}

// netLink is memberlist's own UDP and TCP transport with counting, a shorter
// bound for connects, and connections that end with it.
type netLink struct {
	*memberlist.NetTransport
	meter
	dial    time.Duration
	ctx     context.Context // ends connects on shutdown
	cancel  context.CancelFunc
	packets chan *memberlist.Packet
	streams chan net.Conn
	stop    chan struct{}
	once    sync.Once
	relayed sync.WaitGroup
}

var _ link = (*netLink)(nil)

func openNet(bind string, port int, dial time.Duration, logger *log.Logger) (*netLink, error) {
	cfg := &memberlist.NetTransportConfig{BindAddrs: []string{bind}, BindPort: port, Logger: logger}
	inner, err := memberlist.NewNetTransport(cfg)
	// A port that the system chose for TCP may be taken for UDP.
	for tries := 1; port == 0 && err != nil && tries < 10 && strings.Contains(err.Error(), "address already in use"); tries++ {
		inner, err = memberlist.NewNetTransport(cfg)
	}
	if err != nil {
		return nil, fmt.Errorf("gossip: cannot listen on %s port %d (UDP and TCP), stop what uses it or choose another address or port: %w", bind, port, err)
	}
	l := &netLink{
		NetTransport: inner, dial: dial,
		packets: make(chan *memberlist.Packet), streams: make(chan net.Conn), stop: make(chan struct{}),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.relayed.Go(l.relay)
	return l, nil
}

// relay counts what comes in and hands it on. After cancel it only drains, so
// that the inner transport can end; after stop it returns.
func (l *netLink) relay() {
	for {
		select {
		case p := <-l.NetTransport.PacketCh():
			l.received(len(p.Buf))
			select {
			case l.packets <- p:
			case <-l.ctx.Done():
			}
		case c := <-l.NetTransport.StreamCh():
			c = l.hold(c)
			select {
			case l.streams <- c:
			case <-l.ctx.Done():
				_ = c.Close()
			}
		case <-l.stop:
			return
		}
	}
}

func (l *netLink) PacketCh() <-chan *memberlist.Packet { return l.packets }
func (l *netLink) StreamCh() <-chan net.Conn           { return l.streams }

func (l *netLink) WriteTo(b []byte, addr string) (time.Time, error) {
	return l.WriteToAddress(b, memberlist.Address{Addr: addr})
}

func (l *netLink) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	l.sent(len(b))
	return l.NetTransport.WriteToAddress(b, a)
}

func (l *netLink) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return l.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

func (l *netLink) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: min(timeout, l.dial)}
	c, err := d.DialContext(l.ctx, "tcp", a.Addr)
	if err != nil {
		return nil, err
	}
	l.meter.streams.Add(1)
	return l.hold(c), nil
}

func (l *netLink) Shutdown() error {
	l.once.Do(func() {
		l.cancel()
		_ = l.NetTransport.Shutdown() // it never fails
		close(l.stop)
		l.relayed.Wait()
		l.closeAll()
	})
	return nil
}

// addrPort reads an address that memberlist formed.
func addrPort(s string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(s)
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), err
}
