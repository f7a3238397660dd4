package resolver

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/stackato/stackato/internal/closing"
)

func hasAddress(a netip.Addr) bool {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, have := range list {
		if p, err := netip.ParsePrefix(have.String()); err == nil && p.Addr() == a {
			return true
		}
	}
	return false
}

// addAddress puts the address on the loopback interface if it is nowhere.
func addAddress(ctx context.Context, a netip.Addr) error {
	if hasAddress(a) {
		return nil
	}
	return ip(ctx, "address", "add", a.String()+"/32", "dev", "lo", "scope", "host")
}

func ip(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// clients says who may ask: what is on the containers' bridge. Other machines
// could send to the address as well. The zero value with a bridge is ready.
type clients struct {
	bridge string

	mu       sync.Mutex
	networks []netip.Prefix
	looked   time.Time
}

// networksFor is how long the bridge's networks are believed.
const networksFor = 5 * time.Second

func (c *clients) may(a netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); c.looked.IsZero() || now.Sub(c.looked) > networksFor {
		c.networks, c.looked = bridgeNetworks(c.bridge), now
	}
	for _, p := range c.networks {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func bridgeNetworks(name string) []netip.Prefix {
	iface, err := net.InterfaceByName(name)
	if err != nil {
		return nil
	}
	list, err := iface.Addrs()
	if err != nil {
		return nil
	}
	var out []netip.Prefix
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Masked())
		}
	}
	return out
}

// addressOf is the client of a connection or a packet.
func addressOf(a net.Addr) netip.Addr {
	p, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr().Unmap()
}

// admitted counts the questions that are worked on.
type admitted struct {
	all, each int

	mu    sync.Mutex
	total int
	by    map[netip.Addr]int
}

// enter reports whether a client's question is taken; leave must follow if so.
func (a *admitted) enter(client netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.total >= a.all || a.by[client] >= a.each {
		return false
	}
	if a.by == nil {
		a.by = map[netip.Addr]int{}
	}
	a.total++
	a.by[client]++
	return true
}

func (a *admitted) leave(client netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.total--
	if a.by[client]--; a.by[client] == 0 {
		delete(a.by, client)
	}
}

// streamsEach is how many TCP connections one container may have open.
const streamsEach = 16

// streamLimit accepts connections of containers only, and so many of each.
type streamLimit struct {
	net.Listener
	clients *clients
	each    int

	mu   sync.Mutex
	open map[netip.Addr]int
}

// Accept implements net.Listener.
func (l *streamLimit) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		client := addressOf(conn.RemoteAddr())
		if l.clients.may(client) && l.take(client) {
			return closing.Tell(conn, func() { l.give(client) }), nil
		}
		conn.Close()
	}
}

func (l *streamLimit) take(client netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[client] >= l.each {
		return false
	}
	l.open[client]++
	return true
}

func (l *streamLimit) give(client netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[client]--; l.open[client] <= 0 {
		delete(l.open, client)
	}
}
