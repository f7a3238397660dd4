package agent

import (
	"net/netip"
	"strings"
	"testing"
)

func TestChooseAddress(t *testing.T) {
	t.Parallel()
	on := func(name string, addrs ...string) networkInterface {
		n := networkInterface{name: name, up: true}
		for _, a := range addrs {
			n.addresses = append(n.addresses, netip.MustParseAddr(a))
		}
		return n
	}
	bridge := func(n networkInterface) networkInterface { n.bridge = true; return n }
	down := func(n networkInterface) networkInterface { n.up = false; return n }
	for name, c := range map[string]struct {
		ifaces   []networkInterface
		standard string
		want     string
	}{
		"the default route's, public, beside a private bridge": {
			[]networkInterface{on("eth0", "203.0.113.7"), bridge(on("st1", "172.19.0.1"))}, "eth0", "203.0.113.7",
		},
		"the default route's, beside another private network": {
			[]networkInterface{on("eth0", "10.1.0.5"), on("eth1", "10.2.0.5")}, "eth1", "10.2.0.5",
		},
		"a private address of it before a public one": {
			[]networkInterface{on("eth0", "203.0.113.7", "10.0.0.7")}, "eth0", "10.0.0.7",
		},
		"a bridge that is the way out":        {[]networkInterface{bridge(on("br0", "10.0.0.9"))}, "br0", "10.0.0.9"},
		"no default route: private first":     {[]networkInterface{on("a", "203.0.113.7"), on("b", "10.0.0.7")}, "", "10.0.0.7"},
		"no default route: no bridge":         {[]networkInterface{bridge(on("docker0", "172.17.0.1")), on("b", "203.0.113.7")}, "", "203.0.113.7"},
		"nothing but bridges":                 {[]networkInterface{bridge(on("docker0", "172.17.0.1"))}, "", "127.0.0.1"},
		"down, IPv6 and link-local are none":  {[]networkInterface{down(on("a", "10.0.0.1")), on("b", "fd00::1", "169.254.1.1")}, "b", "127.0.0.1"},
		"no network at all":                   {nil, "", "127.0.0.1"},
		"a default route that has no address": {[]networkInterface{on("tun0"), on("eth0", "10.0.0.7")}, "tun0", "10.0.0.7"},
	} {
		if got := chooseAddress(c.ifaces, c.standard).String(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestDefaultInterface(t *testing.T) {
	t.Parallel()
	const head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	for want, routes := range map[string]string{
		"eth0":  "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\neth0\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n",
		"wlan0": "eth0\t00000000\t0102000A\t0003\t0\t0\t200\t00000000\t0\t0\t0\nwlan0\t00000000\t0102000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n",
		"eth1":  "eth0\t00000000\t0102000A\t0002\t0\t0\t0\t00000000\t0\t0\t0\neth1\t00000000\t0102000A\t0003\t0\t0\t5\t00000000\t0\t0\t0\n",
		"":      "tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\ngarbage\n",
	} {
		if got := defaultInterface(strings.NewReader(head + routes)); got != want {
			t.Errorf("default interface %q, want %q of\n%s", got, want, routes)
		}
	}
}
