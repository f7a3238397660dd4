package inspect

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/test/doctable"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// TestPortsReal uses real sockets: ours, missing ones and a stranger's.
func TestPortsReal(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	wild, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer wild.Close()
	tcp := Port{l.Addr().(*net.TCPAddr).Port, "tcp", loopback, "agent", os.Getpid()}
	udp := Port{u.LocalAddr().(*net.UDPAddr).Port, "udp", loopback, "consul", os.Getpid()}
	anywhere := Port{wild.Addr().(*net.TCPAddr).Port, "tcp", loopback, "agent", os.Getpid()}
	with := func(p Port, pid int) Port { p.PID = pid; return p }
	self := process{os.Getpid(), Env{proc: "/proc"}.process(os.Getpid()).name}.String()
	if !strings.HasPrefix(self, "inspect") {
		t.Errorf("own process is %q", self)
	}

	look := func(configured bool, ports ...Port) func(want ...string) {
		env := Env{Configured: configured, Ports: ports, Self: node.Node{Address: "127.0.0.1"}, proc: "/proc"}
		return func(want ...string) { t.Helper(); expect(t, env.ports(t.Context()), want...) }
	}
	look(true, tcp, udp, anywhere)("ok: all 3 ports of this node")
	look(true, with(tcp, 1))(fmt.Sprintf("fail: %d/tcp should be held by agent and is held by %s", tcp.Number, self))
	look(true, with(udp, 0))("fail: should be held by consul and is held by " + self) // not running, somebody there
	look(false, with(tcp, 0))("fail: is needed by agent and is held by " + self)
	look(false, with(anywhere, 0))("fail: is held by " + self)
	look(false, tcp)("ok: all 1 ports")
	look(false, with(tcp, 1))("fail: is needed by agent and is held by " + self)

	closed := tcp
	l.Close()
	look(false, with(closed, 0))("ok: all 1 ports that a node needs are free")
	look(false, closed)("ok: all 1 ports that a node needs are free")
	look(true, closed)("fail: nothing listens on 127.0.0.1:")
	look(true, with(closed, 0))("fail: nothing listens")

	env := Env{Configured: true, Self: node.Node{Address: "192.0.2.77"}, Ports: []Port{udp}, proc: "/proc"}
	expect(t, env.ports(t.Context()), "fail: no interface of this machine has the node's address 192.0.2.77")
}

func TestSocketsBlock(t *testing.T) {
	at := func(proto, addr string) socket { return socket{proto, netip.MustParseAddrPort(addr), 1} }
	port := Port{Number: 8301, Protocol: "udp", Address: netip.MustParseAddr("10.0.0.1")}
	for s, want := range map[socket]bool{
		at("udp", "10.0.0.1:8301"):  true,
		at("udp", "0.0.0.0:8301"):   true,
		at("udp", "[::]:8301"):      true,
		at("udp", "127.0.0.1:8301"): false,
		at("udp", "10.0.0.1:8302"):  false,
		at("tcp", "10.0.0.1:8301"):  false,
	} {
		if got := s.blocks(port); got != want {
			t.Errorf("%v: %v", s, got)
		}
	}
	port.Address = netip.Addr{}
	if !at("udp", "127.0.0.1:8301").blocks(port) {
		t.Error("any address")
	}
}

func TestReadSockets(t *testing.T) {
	proc := t.TempDir()
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	row := func(local, state string, inode int) string {
		return fmt.Sprintf("   0: %s 00000000:0000 %s 00000000:00000000 00:00000000 00000000     0        0 %d 1 0 100\n", local, state, inode)
	}
	write(t, filepath.Join(proc, "net", "tcp"), head+row("0100007F:1F90", "0A", 7)+row("0100007F:1F91", "01", 8))
	write(t, filepath.Join(proc, "net", "udp"), head+row("0100000A:206D", "07", 9))
	write(t, filepath.Join(proc, "net", "tcp6"), head+row("0000000000000000FFFF00000100000A:1C84", "0A", 10))
	got, err := readSockets(proc) // udp6 is missing: IPv6 is off
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, s := range got {
		lines = append(lines, fmt.Sprint(s.protocol, " ", s.addr, " ", s.inode))
	}
	slices.Sort(lines)
	if diff := cmp.Diff([]string{"tcp 10.0.0.1:7300 10", "tcp 127.0.0.1:8080 7", "udp 10.0.0.1:8301 9"}, lines); diff != "" {
		t.Error(diff)
	}
	write(t, filepath.Join(proc, "net", "tcp"), head+row("zz:1F90", "0A", 7))
	if _, err := readSockets(proc); err == nil {
		t.Error("nonsense accepted")
	}
	expect(t, Env{proc: filepath.Join(proc, "absent"), Ports: []Port{{}}}.ports(t.Context()), "warn: could not be read")
}

// TestPortsAgreeWithDocumentation compares NodePorts with what operators read.
func TestPortsAgreeWithDocumentation(t *testing.T) {
	doc, err := doctable.ReadNode("../../docs/operator/ports-and-files.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		roles node.RoleSet
		voter bool
		on    []string
	}{
		"base":   {node.NewRoleSet(node.Base), false, []string{doctable.OnEvery}},
		"dea":    {node.NewRoleSet(node.Base, node.DEA), false, []string{doctable.OnEvery, doctable.OnDEA, doctable.OnNomad}},
		"router": {node.NewRoleSet(node.Base, node.Router), false, []string{doctable.OnEvery, doctable.OnRouters}},
		"voter":  {node.NewRoleSet(node.Base, node.Controller), true, []string{doctable.OnEvery, doctable.OnControllers, doctable.OnVoters, doctable.OnNomad}},
	} {
		t.Run(name, func(t *testing.T) {
			var want, got []string
			for _, p := range doc.Ports {
				if !slices.Contains(tt.on, p.On) || p.First != p.Last { // ranges are held by what runs at the moment
					continue
				}
				for _, proto := range p.Protocols {
					bind := map[string]string{doctable.BindNode: "10.0.0.1", doctable.BindLocal: "127.0.0.1", doctable.BindAny: "*", doctable.BindNames: doctable.BindNames}[p.Bind]
					owner, _, _ := strings.Cut(p.Owner, ":")
					want = append(want, fmt.Sprintf("%s:%d/%s %s", bind, p.First, proto, strings.ToLower(strings.TrimPrefix(owner, "stackato-"))))
				}
			}
			for _, p := range NodePorts(node.Node{Address: "10.0.0.1", Roles: tt.roles}, tt.voter, Processes{Platform: true}) {
				got = append(got, fmt.Sprint(p, " ", p.Owner))
			}
			slices.Sort(want)
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, p := range NodePorts(node.Node{RPCPort: 1, GossipPort: 2}, false, Processes{HealthPort: 3}) {
		if p.Owner == "agent" && p.Number > 3 {
			t.Errorf("%v is not what was configured", p)
		}
	}
	if p := NodePorts(node.Node{}, true, Processes{})[0]; p.Address.IsValid() || p.String() != "*:7300/tcp" {
		t.Errorf("without an address: %+v", p)
	}
}
