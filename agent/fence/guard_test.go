package fence

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/wire/instance"
)

func TestRules(t *testing.T) {
	address := func(list ...string) func() []netip.Addr {
		return func() (out []netip.Addr) {
			for _, s := range list {
				out = append(out, netip.MustParseAddr(s))
			}
			return out
		}
	}
	g := NewGuard(GuardConfig{
		Nodes: address("10.0.0.2", "10.0.0.1", "fd00::1", "10.0.0.2"), Routers: address("10.0.0.1"),
		Allow: func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:443")} }, Resolver: netip.MustParseAddr("172.17.0.1"),
		Connections: 100,
	})
	forward, input := g.rules(g.tooMany())
	const reject = " -j REJECT --reject-with icmp-port-unreachable"
	wantForward := []string{
		"-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
		"-i docker0 -m connlimit --connlimit-above 100 --connlimit-mask 32 --connlimit-saddr" + reject,
		"-d 10.0.0.1/32 -i docker0 -p tcp -m tcp --dport 443 -j RETURN",
		"-i docker0 -o docker0" + reject,
		"-d 169.254.0.0/16 -i docker0" + reject,
		"-d 10.0.0.1/32 -i docker0" + reject,
		"-d 10.0.0.2/32 -i docker0" + reject,
		"-s 10.0.0.1/32 -o docker0 -p tcp -m tcp --dport 8080 -j RETURN",
		"-o docker0 -p tcp -m tcp --dport 8080" + reject,
		"-o docker0 -p udp -m udp --dport 8080" + reject,
	}
	wantInput := []string{
		"-i docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
		"-i docker0 -m connlimit --connlimit-above 100 --connlimit-mask 32 --connlimit-saddr" + reject,
		"-d 172.17.0.1/32 -i docker0 -p udp -m udp --dport 53 -j RETURN",
		"-d 172.17.0.1/32 -i docker0 -p tcp -m tcp --dport 53 -j RETURN",
		"-d 10.0.0.1/32 -i docker0 -p tcp -m tcp --dport 443 -j RETURN",
		"-i docker0" + reject,
	}
	if diff := cmp.Diff(wantForward, forward); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(wantInput, input); diff != "" {
		t.Error(diff)
	}
}

// network is a bridge of Docker's, a network namespace that plays another
// machine, and ports of the node.
type network struct {
	t                              *testing.T
	name, bridge, gateway, outside string
	namespace                      string
	port                           string // of the node, on every address
	peer                           string // the node's address that the outside sees
}

// newNetwork makes one; number tells those of parallel tests apart.
func newNetwork(t *testing.T, number int) *network {
	t.Helper()
	needDocker(t)
	if os.Getuid() != 0 {
		t.Skip("changes the firewall: only as root")
	}
	n := &network{t: t, name: fmt.Sprintf("sg%d%d", os.Getpid()%10000, number)}
	n.bridge, n.namespace = n.name+"b", n.name
	subnet, veth := fmt.Sprintf("10.213.%d.", 200+number), fmt.Sprintf("198.51.%d.", 100+number)
	n.gateway, n.peer, n.outside = subnet+"1", veth+"1", veth+"2"
	docker(t, "network", "create", "--subnet", subnet+"0/24", "--gateway", n.gateway, "-o", "com.docker.network.bridge.name="+n.bridge, n.name)
	t.Cleanup(func() { docker(t, "network", "rm", n.name) })
	script := `set -e
ip netns add $1
ip link add $1v type veth peer name eth0 netns $1
ip address add $2/28 dev $1v
ip link set $1v up
ip -n $1 link set lo up
ip -n $1 address add $3/28 dev eth0
ip -n $1 link set eth0 up
ip -n $1 route add default via $2`
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", n.namespace).Run() })
	if out, err := exec.Command("bash", "-c", script, "sh", n.namespace, n.peer, n.outside).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	_, n.port, _ = net.SplitHostPort(l.Addr().String())
	n.serveOutside()
	return n
}

// serveOutside starts a server on the other machine.
func (n *network) serveOutside() {
	n.t.Helper()
	cmd := exec.Command("ip", "netns", "exec", n.namespace, built.dir+"/testapp")
	cmd.Env = []string{"PORT=80"}
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	await(n.t, "server outside", func() bool {
		conn, err := net.DialTimeout("tcp", n.outside+":80", time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// server starts a container that listens and returns its address and its
// published port.
func (n *network) server() (address, port string) {
	n.t.Helper()
	id := docker(n.t, "run", "-d", "--network", n.name, "-p", "0.0.0.0::8080", "-e", "PORT=8080", built.image, "/bin/testapp")
	n.t.Cleanup(func() { docker(n.t, "rm", "-f", id) })
	address = docker(n.t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", id)
	_, port, _ = strings.Cut(docker(n.t, "port", id, "8080/tcp"), ":")
	await(n.t, "server in a container", func() bool {
		conn, err := net.DialTimeout("tcp", address+":8080", time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return address, port
}

// reached says which of the addresses a container reaches.
func (n *network) reached(addresses ...string) map[string]bool {
	n.t.Helper()
	out := docker(n.t, append([]string{"run", "--rm", "--network", n.name, built.image, "/bin/testapp", "dial"}, addresses...)...)
	return answers(out)
}

// reachedOutside says which the other machine reaches.
func (n *network) reachedOutside(addresses ...string) map[string]bool {
	n.t.Helper()
	out, err := exec.Command("ip", append([]string{"netns", "exec", n.namespace, built.dir + "/testapp", "dial"}, addresses...)...).Output()
	if err != nil {
		n.t.Fatal(err)
	}
	return answers(string(out))
}

func answers(out string) map[string]bool {
	m := map[string]bool{}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 2 {
			m[f[0]] = f[1] == "true"
		}
	}
	return m
}

// TestGuard: with the rules a container reaches the world and nothing else,
// and only routers and the node reach it. Without them it reaches all, which
// shows that the test can fail.
func TestGuard(t *testing.T) {
	n := newNetwork(t, 0)
	address, published := n.server()
	// Where the metadata service of clouds is, on the node itself.
	if out, err := exec.Command("ip", "address", "add", "169.254.213.77/32", "dev", n.bridge).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	forbidden := []string{
		n.gateway + ":" + n.port, n.peer + ":" + n.port, "169.254.213.77:" + n.port, // the node by any address
		address + ":8080", n.gateway + ":" + published, n.peer + ":" + published, // another app
		n.outside + ":80", // another node
	}
	if got := n.reached(forbidden...); len(got) != len(forbidden) || !all(got, true) {
		t.Fatalf("without the guard not all is reached, so nothing is proved: %v", got)
	}

	outside := []netip.Addr{netip.MustParseAddr(n.outside)}
	nodes, routers := outside, []netip.Addr(nil)
	var allowed []netip.AddrPort
	cfg := GuardConfig{
		Bridge: n.bridge, Chain: strings.ToUpper(n.name), Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Nodes: func() []netip.Addr { return nodes }, Routers: func() []netip.Addr { return routers },
		Allow: func() []netip.AddrPort { return allowed },
	}
	g := NewGuard(cfg)
	t.Cleanup(func() {
		if err := g.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	apply := func() {
		t.Helper()
		if err := g.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	apply()
	if got := n.reached(forbidden...); len(got) != len(forbidden) || !all(got, false) {
		t.Errorf("a container reaches %v", got)
	}
	if got := n.reachedOutside(n.peer + ":" + published); !all(got, false) {
		t.Errorf("another machine reaches the app: %v", got)
	}
	if conn, err := net.DialTimeout("tcp", n.gateway+":"+published, 5*time.Second); err != nil {
		t.Errorf("the node does not reach the app: %v", err)
	} else {
		conn.Close()
	}

	nodes, routers = nil, outside
	allowed = []netip.AddrPort{netip.MustParseAddrPort(n.gateway + ":" + n.port)}
	apply()
	if got := n.reached(n.outside+":80", n.gateway+":"+n.port); !all(got, true) {
		t.Errorf("the world and what is allowed: %v", got)
	}
	if got := n.reachedOutside(n.peer + ":" + published); !all(got, true) {
		t.Errorf("a router does not reach the app: %v", got)
	}
}

func all(m map[string]bool, want bool) bool {
	for _, got := range m {
		if got != want {
			return false
		}
	}
	return len(m) > 0
}

// TestGuardHolds: applying again changes nothing, what others do is repaired,
// and removing leaves nothing.
func TestGuardHolds(t *testing.T) {
	if testing.Short() {
		t.Skip("changes the firewall: not with -short")
	}
	if os.Getuid() != 0 {
		t.Skip("changes the firewall: only as root")
	}
	chain := fmt.Sprintf("SGH%d", os.Getpid())
	none := func() []netip.Addr { return nil }
	g := NewGuard(GuardConfig{Bridge: "sgh-none", Chain: chain, Nodes: none, Routers: none, Interval: 20 * time.Millisecond})
	saved := func(command string) string {
		out, err := exec.Command(command).Output()
		if err != nil {
			t.Skipf("%s: %v", command, err)
		}
		var mine []string
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, chain) && !strings.HasPrefix(line, ":") {
				mine = append(mine, line)
			}
		}
		return strings.Join(mine, "")
	}
	if exec.Command("iptables", "-S", "DOCKER-USER").Run() != nil {
		t.Skip("there is no Docker Engine with its rules")
	}
	if err := g.Ready(); err == nil {
		t.Error("ready before the first round")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := g.Remove(context.Background()); err != nil {
				t.Error(err)
			}
		}
		if left := saved("iptables-save") + saved("ip6tables-save"); left != "" {
			t.Errorf("left: %s", left)
		}
	}()
	await(t, "first round", func() bool { return g.Ready() == nil })
	want := saved("iptables-save")
	if strings.Count(want, "-j "+chain) != 2 || !strings.Contains(want, fmt.Sprint("--dport ", instance.ContainerPort)) {
		t.Fatalf("rules:\n%s", want)
	}
	for _, disturb := range [][]string{
		{"-D", "INPUT", "-j", chain + "-INPUT"},
		{"-F", chain + "-FORWARD"},
		{"-I", "DOCKER-USER", "1", "-j", chain + "-FORWARD"},
		{"-I", "INPUT", "1", "-i", "sgh-none", "-m", "comment", "--comment", chain, "-j", "ACCEPT"},
	} {
		if out, err := exec.Command("iptables", append([]string{"-w", "5"}, disturb...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", disturb, err, out)
		}
		first := func() bool {
			out, err := exec.Command("iptables", "-w", "5", "-S", "INPUT").Output()
			return err == nil && strings.HasPrefix(string(out), "-P INPUT ACCEPT\n-A INPUT -j "+chain+"-INPUT\n")
		}
		await(t, fmt.Sprint("repair after ", disturb), func() bool { return without(saved("iptables-save"), "comment") == want && first() })
	}
	if err := exec.Command("iptables", "-w", "5", "-D", "INPUT", "-i", "sgh-none", "-m", "comment", "--comment", chain, "-j", "ACCEPT").Run(); err != nil {
		t.Error(err)
	}
}

// without returns the lines that do not have a part.
func without(text, part string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if !strings.Contains(line, part) {
			out.WriteString(line)
		}
	}
	return out.String()
}
