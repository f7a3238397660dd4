package router

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pires/go-proxyproto"
)

// proxyHeaderTimeout bounds how long a balancer's PROXY header may take.
const proxyHeaderTimeout = 5 * time.Second

// balancers are the load balancers in front. They may change while the router
// runs; a connection keeps what held when it was accepted.
type balancers struct{ held atomic.Pointer[balancersHeld] }

type balancersHeld struct {
	trusted []netip.Prefix
	header  bool
}

// SetBalancers says which peers are load balancers in front, whose
// X-Forwarded-* headers are believed, and whether their connections begin with
// a PROXY header (version 1 or 2). One that should have it and does not is
// closed: whoever is behind could else write one. From others it is never
// taken. It may be called at any time, also before Run.
func (r *Router) SetBalancers(trusted []netip.Prefix, proxyHeader bool) {
	trusted = slices.Clone(trusted)
	r.balancers.held.Store(&balancersHeld{trusted, proxyHeader})
	r.front.Trust(trusted)
}

// policy says what to do with a connection's first bytes.
func (b *balancers) policy(c proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
	held := b.held.Load()
	if held == nil || !held.header {
		return proxyproto.SKIP, nil
	}
	peer, ok := c.Upstream.(*net.TCPAddr)
	if ok && contains(held.trusted, peer.AddrPort().Addr()) {
		return proxyproto.REQUIRE, nil
	}
	return proxyproto.SKIP, nil
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// listener reads PROXY headers of connections that a listener accepts.
func (b *balancers) listener(l net.Listener) net.Listener {
	return &proxyproto.Listener{
		Listener: l, ConnPolicy: b.policy, ReadHeaderTimeout: proxyHeaderTimeout, ValidateHeader: overTCP,
	}
}

// overTCP refuses a header that names no client by address and port, unless it
// is the balancer's own health check.
func overTCP(h *proxyproto.Header) error {
	if h.Command.IsLocal() {
		return nil
	}
	if _, ok := h.SourceAddr.(*net.TCPAddr); !ok {
		return errors.New("the PROXY header names no TCP client")
	}
	return nil
}
