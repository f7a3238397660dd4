package inspect

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/resolver"
)

// Port is one that this node should listen on.
type Port struct {
	Number   int
	Protocol string     // "tcp" or "udp"
	Address  netip.Addr // zero: any address of the machine
	Owner    string     // "agent", "consul" or "nomad"
	// PID is the process that should hold it, 0 if that does not run. On a
	// configured node the port must be held by it, on another one it must be
	// held by it or be free.
	PID int
}

func (p Port) String() string {
	addr := "*"
	if p.Address.IsValid() {
		addr = p.Address.String()
	}
	return fmt.Sprintf("%s:%d/%s", addr, p.Number, p.Protocol)
}

// Processes are those that listen on a node: their ids, 0 for one that does not
// run.
type Processes struct {
	Agent, Consul, Nomad int
	HealthPort           int // of the agent on loopback; default 7302
	// Platform says that the agent serves the Cloud Controller's API and
	// routes; APIPort (default 7303), HTTPPort (80), HTTPSPort (443) and
	// RouterHealthPort (7304) are where.
	Platform                                       bool
	APIPort, HTTPPort, HTTPSPort, RouterHealthPort int
}

// NodePorts returns the ports of docs/operator/ports-and-files.md that node n
// listens on. On an unconfigured machine ask for a voter without an address:
// those are the ports that must be free.
func NodePorts(n node.Node, voter bool, pids Processes) []Port {
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	addr, err := netip.ParseAddr(n.Address)
	if err != nil {
		addr = netip.Addr{}
	}
	var out []Port
	add := func(owner string, pid int, at netip.Addr, number int, protocols ...string) {
		for _, proto := range protocols {
			out = append(out, Port{Number: number, Protocol: proto, Address: at, Owner: owner, PID: pid})
		}
	}
	add("agent", pids.Agent, addr, cmp.Or(n.RPCPort, 7300), "tcp")
	add("agent", pids.Agent, addr, cmp.Or(n.GossipPort, 7301), "tcp", "udp")
	add("agent", pids.Agent, loopback, cmp.Or(pids.HealthPort, 7302), "tcp")
	fresh := n.Roles == 0 && voter // an unconfigured machine
	if pids.Platform && (n.Roles.Has(node.Controller) || fresh) {
		add("agent", pids.Agent, addr, cmp.Or(pids.APIPort, 7303), "tcp")
	}
	if pids.Platform && (n.Roles.Has(node.Router) || fresh) {
		add("router", pids.Agent, netip.Addr{}, cmp.Or(pids.HTTPPort, 80), "tcp")
		add("router", pids.Agent, netip.Addr{}, cmp.Or(pids.HTTPSPort, 443), "tcp")
		add("router", pids.Agent, netip.Addr{}, cmp.Or(pids.RouterHealthPort, 7304), "tcp")
	}
	if pids.Platform && n.Roles.Has(node.DEA) {
		add("agent", pids.Agent, resolver.Address, 53, "tcp", "udp")
	}
	add("consul", pids.Consul, addr, 8301, "tcp", "udp")
	add("consul", pids.Consul, loopback, 8500, "tcp")
	add("consul", pids.Consul, loopback, 8600, "tcp", "udp")
	if voter {
		add("consul", pids.Consul, addr, 8300, "tcp")
		add("nomad", pids.Nomad, addr, 4647, "tcp")
		add("nomad", pids.Nomad, addr, 4648, "tcp", "udp")
	}
	if voter || n.Roles.RunsNomadClient() {
		add("nomad", pids.Nomad, loopback, 4646, "tcp")
	}
	return out
}

func (env Env) ports(context.Context) []local.Finding {
	if len(env.Ports) == 0 {
		return env.nothing()
	}
	sockets, err := readSockets(env.proc)
	if err != nil {
		return warned("see: ss -ltunp", "it could not be read who listens: %v", err)
	}
	var out []local.Finding
	if addr := env.Self.Address; env.Configured && !ownAddress(addr) {
		out = failed("give the address back to the machine (ip addr), or join it again with its new one", "no interface of this machine has the node's address %s", addr)
	}
	for _, p := range env.Ports {
		holders := slices.DeleteFunc(slices.Clone(sockets), func(s socket) bool { return !s.blocks(p) })
		out = append(out, judgePort(p, env.Configured, holders, env.holder)...)
	}
	switch {
	case len(out) > 0:
		return out
	case env.Configured:
		return ok("all %d ports of this node are held by its own processes", len(env.Ports))
	}
	return ok("all %d ports that a node needs are free or held by the agent", len(env.Ports))
}

// judgePort returns what is wrong with a port. holder names the process that
// has a socket; it prefers the wanted process if several have it.
func judgePort(p Port, configured bool, sockets []socket, holder func(inode uint64, wanted int) process) []local.Finding {
	if len(sockets) == 0 {
		if !configured {
			return nil
		}
		return failed(fmt.Sprintf("see why: kato process list; then: kato process restart %s", p.Owner), "nothing listens on %s, which %s should", p, p.Owner)
	}
	var strangers []string
	for _, s := range sockets {
		h := holder(s.inode, p.PID)
		if p.PID != 0 && h.pid == p.PID {
			return nil
		}
		if name := h.String(); !slices.Contains(strangers, name) {
			strangers = append(strangers, name)
		}
	}
	who := strings.Join(strangers, ", ")
	if !configured {
		return failed("stop it, or move it to another port, before this machine joins", "%s is needed by %s and is held by %s", p, p.Owner, who)
	}
	return failed(fmt.Sprintf("stop it, or move it to another port; then: kato process restart %s", p.Owner), "%s should be held by %s and is held by %s", p, p.Owner, who)
}

// ownAddress reports whether an interface of this machine has the address.
func ownAddress(addr string) bool {
	want, err := netip.ParseAddr(addr)
	if err != nil {
		return false
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true // not known
	}
	return slices.ContainsFunc(addrs, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && (p.Addr().Unmap() == want || want.IsLoopback() && p.Masked().Contains(want))
	})
}
