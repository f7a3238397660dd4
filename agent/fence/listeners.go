package fence

import (
	"bufio"
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
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
	var all []netip.AddrPort
	for _, family := range []string{"tcp", "tcp6"} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", pid, family))
		if err != nil {
			continue // it has ended, or the kernel has no IPv6
		}
		lines := bufio.NewScanner(io.LimitReader(f, 1<<20))
		for lines.Scan() {
			if l, ok := listener(lines.Text()); ok && l.Addr() != engineDNS {
				all = append(all, l)
			}
		}
		f.Close()
	}
	slices.SortFunc(all, func(a, b netip.AddrPort) int { return cmp.Compare(a.Port(), b.Port()) })
	return all
}

// engineDNS is where Docker answers containers of networks that have names.
var engineDNS = netip.AddrFrom4([4]byte{127, 0, 0, 11})

// listener reads a line of /proc/net/tcp or tcp6 (proc(5)): "SLOT: LOCAL REMOTE
// STATE …", an address as words of the machine's byte order in hexadecimal.
func listener(line string) (netip.AddrPort, bool) {
	const listen = "0A"
	fields := strings.Fields(line)
	if len(fields) < 4 || fields[3] != listen {
		return netip.AddrPort{}, false
	}
	words, port, _ := strings.Cut(fields[1], ":")
	raw, err := hex.DecodeString(words)
	if err != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 { // little endian, as all machines that this is built for
		slices.Reverse(raw[i : i+4])
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	addr, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), true
}
