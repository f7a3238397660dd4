package fence

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/stackato/stackato/internal/procnet"
)

// elsewhere says where an app listens when nobody reaches it at want, as the
// end of a sentence about that; "" when it listens nowhere or that is not
// known. pid is any process of its container.
func elsewhere(pid, want int) string {
	all := listeners(pid)
	if len(all) == 0 {
		return ""
	}
	for _, l := range all {
		if int(l.Port()) == want {
			only := l.Addr().String()
			if l.Addr().Is6() {
				only = "IPv6 addresses"
			}
			return fmt.Sprintf("; the app listens there on %s only, and must on 0.0.0.0", only)
		}
	}
	ports := make([]string, 0, len(all))
	for _, l := range all {
		ports = append(ports, strconv.Itoa(int(l.Port())))
	}
	ports = slices.Compact(ports)
	if len(ports) > 3 {
		ports = append(ports[:3], "…")
	}
	return fmt.Sprintf("; the app listens on port %s, and $PORT is %d", strings.Join(ports, ", "), want)
}

// listeners are the TCP addresses that the network namespace of a process
// listens on, by port: the engine's own name server left out.
func listeners(pid int) []netip.AddrPort {
	sockets, _ := procnet.Listening(pid) // what could be read is all that can be told
	var all []netip.AddrPort
	for _, s := range sockets {
		if s.Addr.Addr() != engineDNS {
			all = append(all, s.Addr)
		}
	}
	slices.SortFunc(all, func(a, b netip.AddrPort) int { return cmp.Compare(a.Port(), b.Port()) })
	return all
}

// engineDNS is where Docker answers containers of networks that have names.
var engineDNS = netip.AddrFrom4([4]byte{127, 0, 0, 11})
