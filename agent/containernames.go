package agent

import (
	"math/rand/v2"
	"net/netip"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/resolver"
)

// routersForContainers are the addresses at which containers of this node
// reach routers, the best first: the node's own, then the others in any
// order. Those that are down are left out as long as another is up.
func (r *runtime) routersForContainers() []netip.Addr {
	a := r.dir.get()
	var self, up, down []netip.Addr
	for _, n := range a.Nodes {
		addr, err := netip.ParseAddr(n.Address)
		if err != nil || !n.Roles.Without(n.StoppedRoles).Has(node.Router) {
			continue
		}
		switch {
		case n.ID == a.Self.ID:
			self = append(self, forContainers(addr))
		case r.seen(n.ID):
			up = append(up, addr)
		default:
			down = append(down, addr)
		}
	}
	rand.Shuffle(len(up), func(i, j int) { up[i], up[j] = up[j], up[i] })
	if up = append(self, up...); len(up) > 0 {
		return up
	}
	return down
}

// forContainers is an address of this node that containers can use: a machine
// without a network calls itself 127.0.0.1.
func forContainers(addr netip.Addr) netip.Addr {
	if addr.IsLoopback() {
		return resolver.Address
	}
	return addr
}

// routerPorts are where apps reach the routers, as everybody does.
func (r *runtime) routerPorts() []netip.AddrPort {
	var out []netip.AddrPort
	for _, addr := range r.addresses(node.NewRoleSet(node.Router)) {
		for _, port := range []int{r.cfg.Ports.RouterHTTP, r.cfg.Ports.RouterHTTPS} {
			out = append(out, netip.AddrPortFrom(forContainers(addr), uint16(port))) //nolint:gosec // Validate bounds it
		}
	}
	return out
}
