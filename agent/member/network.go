package member

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Network is a network in memory, for tests and measurements that run several
// members in one process. Packets to nobody or to a full queue are lost, as
// with UDP. Its methods are safe for concurrent use.
type Network struct {
	mu      sync.RWMutex
	next    netip.Addr
	links   map[netip.AddrPort]*memLink
	deliver func(from, to netip.AddrPort) bool
}

const memPort = 7946

// NewNetwork returns an empty network.
func NewNetwork() *Network {
	return &Network{next: netip.MustParseAddr("10.90.0.1"), links: map[netip.AddrPort]*memLink{}}
}

// Endpoint is a place in a [Network] where a member can run; one at a time.
type Endpoint struct {
	net  *Network
	addr netip.AddrPort
}

// NewEndpoint returns a place with an address of its own.
func (n *Network) NewEndpoint() *Endpoint {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := &Endpoint{net: n, addr: netip.AddrPortFrom(n.next, memPort)}
	n.next = n.next.Next()
	return e
}

// SetFilter makes the network lose what f refuses, packets and connects alike;
// connects then time out. f must be safe for concurrent use. nil heals it.
// Streams that are open stay.
func (n *Network) SetFilter(f func(from, to netip.AddrPort) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deliver = f
}

// find returns the link at an address; passes is false when the filter refuses.
func (n *Network) find(from, to netip.AddrPort) (l *memLink, passes bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.links[to], n.deliver == nil || n.deliver(from, to)
}

// Addr returns the endpoint's address.
func (e *Endpoint) Addr() netip.AddrPort { return e.addr }

func (e *Endpoint) open() (*memLink, error) {
	e.net.mu.Lock()
	defer e.net.mu.Unlock()
	if e.net.links[e.addr] != nil {
		return nil, fmt.Errorf("gossip: listen: %s is in use", e.addr)
	}
	l := &memLink{
		e:       e,
		packets: make(chan *memberlist.Packet, 1024),
		streams: make(chan net.Conn, 64),
		done:    make(chan struct{}),
	}
	e.net.links[e.addr] = l
	return l, nil
}

// memLink is one member's transport in a Network.
type memLink struct {
	meter
	e       *Endpoint
	packets chan *memberlist.Packet
	streams chan net.Conn
	done    chan struct{}
	once    sync.Once
}

var _ link = (*memLink)(nil)

func (l *memLink) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return l.e.addr.Addr().AsSlice(), int(l.e.addr.Port()), nil
}

func (l *memLink) PacketCh() <-chan *memberlist.Packet { return l.packets }
func (l *memLink) StreamCh() <-chan net.Conn           { return l.streams }

func (l *memLink) WriteTo(b []byte, addr string) (time.Time, error) {
	return l.WriteToAddress(b, memberlist.Address{Addr: addr})
}

func (l *memLink) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	now := time.Now()
	to, err := addrPort(a.Addr)
	if err != nil {
		return now, err
	}
	l.sent(len(b))
	dest, passes := l.e.net.find(l.e.addr, to)
	if dest == nil || !passes {
		return now, nil // lost
	}
	p := &memberlist.Packet{Buf: append([]byte(nil), b...), From: net.UDPAddrFromAddrPort(l.e.addr), Timestamp: now}
	select {
	case dest.packets <- p:
		dest.received(len(b))
	default: // lost
	}
	return now, nil
}

func (l *memLink) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return l.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

var (
	errRefused  = errors.New("connection refused")
	errTimedOut = errors.New("connection timed out")
)

func (l *memLink) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	to, err := addrPort(a.Addr)
	if err != nil {
		return nil, err
	}
	dest, passes := l.e.net.find(l.e.addr, to)
	if passes && dest == nil {
		return nil, errRefused
	}
	t := time.NewTimer(timeout)
	defer t.Stop()
	if !passes {
		select {
		case <-t.C:
		case <-l.done:
		}
		return nil, errTimedOut
	}
	here, there := net.Pipe()
	select {
	case dest.streams <- dest.hold(there):
		l.meter.streams.Add(1)
		return l.hold(here), nil
	case <-t.C:
		err = errTimedOut
	case <-dest.done:
		err = errRefused
	case <-l.done:
		err = net.ErrClosed
	}
	_, _ = here.Close(), there.Close()
	return nil, err
}

func (l *memLink) Shutdown() error {
	l.once.Do(func() {
		l.e.net.mu.Lock()
		delete(l.e.net.links, l.e.addr)
		l.e.net.mu.Unlock()
		close(l.done)
		l.closeAll()
	})
	return nil
}
