package agent

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// networkInterface is what the choice of the node's address depends on.
type networkInterface struct {
	name      string
	up        bool // and not loopback
	bridge    bool // of containers or virtual machines
	addresses []netip.Addr
}

// ownAddress picks the address that the node advertises when none is
// configured, see chooseAddress.
func ownAddress() (string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("network interfaces: %w", err)
	}
	var ifaces []networkInterface
	for _, i := range all {
		n := networkInterface{
			name: i.Name, up: i.Flags&net.FlagUp != 0 && i.Flags&net.FlagLoopback == 0,
			bridge: isContainerInterface(i.Name),
		}
		if _, err := os.Stat(filepath.Join("/sys/class/net", i.Name, "bridge")); err == nil {
			n.bridge = true
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has gone
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				n.addresses = append(n.addresses, p.Addr().Unmap())
			}
		}
		ifaces = append(ifaces, n)
	}
	name := ""
	if f, err := os.Open("/proc/net/route"); err == nil { // a machine without IPv4 has none
		defer f.Close()
		name = defaultInterface(f)
	}
	return chooseAddress(ifaces, name).String(), nil
}

// chooseAddress takes an IPv4 address of the interface that leads to other
// networks: other nodes reach this one there, while bridges of containers come
// and go with them. Without a default route any other interface serves, one
// with a private address first, bridges not at all; without a network it is
// loopback, for such a machine can still be a micro cloud.
func chooseAddress(ifaces []networkInterface, defaultInterface string) netip.Addr {
	best, rank := netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0
	for _, i := range ifaces {
		isDefault := i.name == defaultInterface
		if !i.up || i.bridge && !isDefault {
			continue
		}
		for _, a := range i.addresses {
			if !a.Is4() || !a.IsGlobalUnicast() {
				continue
			}
			r := 1
			if a.IsPrivate() {
				r++
			}
			if isDefault {
				r += 2
			}
			if r > rank {
				best, rank = a, r
			}
		}
	}
	return best
}

// defaultInterface returns the interface of the default route with the lowest
// metric, "" when there is none. The format is that of /proc/net/route: name,
// destination, gateway, flags, two counters, metric, mask, in hexadecimal but
// for the metric (Linux, net/ipv4/fib_trie.c).
func defaultInterface(r io.Reader) string {
	name, lowest := "", math.MaxInt
	for lines := bufio.NewScanner(r); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
			continue
		}
		const up = 1
		flags, err := strconv.ParseUint(f[3], 16, 32)
		metric, err2 := strconv.Atoi(f[6])
		if err != nil || err2 != nil || flags&up == 0 || metric >= lowest {
			continue
		}
		name, lowest = f[0], metric
	}
	return name
}

// isContainerInterface reports whether an interface has the name of one that
// belongs to containers on this machine.
func isContainerInterface(name string) bool {
	for _, prefix := range []string{"docker", "br-", "veth", "nomad"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
