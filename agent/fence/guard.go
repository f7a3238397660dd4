package fence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stackato/stackato/wire/instance"
)

// GuardConfig says what containers may reach and who may reach them. It holds
// for a whole bridge. Addresses that change are asked for at every round.
type GuardConfig struct {
	// Bridge is the interface that containers are connected to; default
	// "docker0".
	Bridge string
	// Nodes returns the addresses of all nodes of the cluster: containers
	// reach none of them. Their own node they reach by no address at all.
	Nodes func() []netip.Addr
	// Routers returns the addresses of nodes that may connect to the
	// published ports of apps. The own node always may.
	Routers func() []netip.Addr
	// Allow returns what containers may reach on nodes all the same, by TCP:
	// the routers' public ports. nil is nothing.
	Allow func() []netip.AddrPort
	// Resolver may be asked for names (port 53) on this node; zero for none.
	Resolver netip.Addr
	// Connections is how many a container may have open outward at once;
	// default a share of what the kernel can follow, see [outwardLimit].
	Connections int
	// Interval is the time between two rounds; default 30 s.
	Interval time.Duration
	// Chain is the prefix of the chains' names; default "STACKATO".
	Chain  string
	Logger *slog.Logger // nil: slog.Default
}

// Guard keeps containers away from nodes, from each other and from metadata
// services, and everybody but routers away from containers; and it keeps one
// container from using up the connections of all. It owns a chain
// that DOCKER-USER jumps to and one that INPUT jumps to: what a container
// sends to its own node, published ports included, never passes DOCKER-USER.
type Guard struct {
	cfg    GuardConfig
	change chan struct{} // holds one

	mu      sync.Mutex
	applied error

	uncounted bool // the last round could not limit connections; belongs to apply
}

// errNotApplied is the state before the first round.
var errNotApplied = errors.New("the egress guard was not applied yet")

// NewGuard makes a Guard and changes nothing.
func NewGuard(cfg GuardConfig) *Guard {
	cfg.Bridge = cmp.Or(cfg.Bridge, "docker0")
	cfg.Interval = cmp.Or(cfg.Interval, 30*time.Second)
	cfg.Chain = cmp.Or(cfg.Chain, "STACKATO")
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Guard{cfg: cfg, change: make(chan struct{}, 1), applied: errNotApplied}
}

// Run applies the rules, and again whenever they should differ and every
// interval, because others change these tables too. When ctx ends the rules
// stay: containers run on while the agent is replaced. See [Guard.Remove].
func (g *Guard) Run(ctx context.Context) error {
	for {
		g.round(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-g.change:
		case <-time.After(g.cfg.Interval):
		}
	}
}

func (g *Guard) round(ctx context.Context) {
	err := g.apply(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil && fmt.Sprint(err) != fmt.Sprint(g.Ready()) {
		g.cfg.Logger.Error("the egress guard cannot be applied", "error", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.applied = err
}

// Changed says that nodes or routers are others than before.
func (g *Guard) Changed() {
	select {
	case g.change <- struct{}{}:
	default:
	}
}

// Ready returns nil if the rules held at the last round.
func (g *Guard) Ready() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.applied
}

func (g *Guard) forward() string { return g.cfg.Chain + "-FORWARD" }
func (g *Guard) input() string   { return g.cfg.Chain + "-INPUT" }

// rules are the two chains, in the order in which they are tried. They are in the
// words and the order of words in which iptables prints them. tooMany meets
// connections that are refused because the container has many, "" if there is no
// such limit.
func (g *Guard) rules(tooMany string) (forward, input []string) {
	bridge := g.cfg.Bridge
	const known = "-m conntrack --ctstate RELATED,ESTABLISHED"
	const reject = "-j REJECT --reject-with icmp-port-unreachable"

	input = append(input, fmt.Sprintf("-i %s %s -j RETURN", bridge, known))
	forward = append(forward, fmt.Sprintf("%s -j RETURN", known))
	if tooMany != "" {
		rule := fmt.Sprintf("-i %s %s %s", bridge, tooMany, reject)
		input, forward = append(input, rule), append(forward, rule)
	}
	if r := g.cfg.Resolver; r.Is4() {
		for _, protocol := range []string{"udp", "tcp"} {
			input = append(input, fmt.Sprintf("-d %s/32 -i %s -p %s -m %s --dport 53 -j RETURN", r, bridge, protocol, protocol))
		}
	}
	if g.cfg.Allow != nil {
		for _, a := range sorted(g.cfg.Allow(), netip.AddrPort.Compare) {
			if !a.Addr().Is4() {
				continue
			}
			rule := fmt.Sprintf("-d %s/32 -i %s -p tcp -m tcp --dport %d -j RETURN", a.Addr(), bridge, a.Port())
			input, forward = append(input, rule), append(forward, rule)
		}
	}
	input = append(input, fmt.Sprintf("-i %s %s", bridge, reject))

	forward = append(forward,
		fmt.Sprintf("-i %s -o %s %s", bridge, bridge, reject),
		fmt.Sprintf("-d 169.254.0.0/16 -i %s %s", bridge, reject))
	for _, a := range four(g.cfg.Nodes) {
		forward = append(forward, fmt.Sprintf("-d %s/32 -i %s %s", a, bridge, reject))
	}
	// The port is the container's here: Docker has translated the published
	// one. Data services have others.
	app := fmt.Sprintf("-o %s -p tcp -m tcp --dport %d", bridge, instance.ContainerPort)
	for _, a := range four(g.cfg.Routers) {
		forward = append(forward, fmt.Sprintf("-s %s/32 %s -j RETURN", a, app))
	}
	// Docker publishes the port for UDP as well. Nobody has business there.
	udp := fmt.Sprintf("-o %s -p udp -m udp --dport %d", bridge, instance.ContainerPort)
	forward = append(forward, app+" "+reject, udp+" "+reject)
	return forward, input
}

// four returns the IPv4 addresses, sorted and once.
func four(addresses func() []netip.Addr) []netip.Addr {
	if addresses == nil {
		return nil
	}
	return slices.DeleteFunc(sorted(addresses(), netip.Addr.Compare), func(a netip.Addr) bool { return !a.Is4() })
}

func sorted[T comparable](list []T, compare func(T, T) int) []T {
	out := slices.Clone(list)
	slices.SortFunc(out, compare)
	return slices.Compact(out)
}

// apply makes sure that both chains are there and asked first. Nothing is open in
// between: the jumps stay where they are.
func (g *Guard) apply(ctx context.Context) error {
	if err := bridgeFiltered(ctx); err != nil {
		return err
	}
	if err := g.applyFour(ctx); err != nil {
		return err
	}
	return errors.Join(
		jumpFirst(ctx, "iptables", "DOCKER-USER", g.forward()),
		jumpFirst(ctx, "iptables", "INPUT", g.input()),
		g.applySix(ctx),
	)
}

// applyFour makes the chains of IPv4, without the limit of connections on a kernel
// that cannot count them.
func (g *Guard) applyFour(ctx context.Context) error {
	err := g.chains(ctx, g.tooMany())
	if err == nil || ctx.Err() != nil {
		g.uncounted = false
		return err
	}
	if g.chains(ctx, "") != nil {
		return err
	}
	if !g.uncounted {
		g.cfg.Logger.Warn("the connections of containers are not limited (the kernel needs xt_connlimit)", "error", err)
	}
	g.uncounted = true
	return nil
}

// chains writes the two chains, in one transaction, unless they are there as they
// should be: a rule that is written anew forgets what it has counted.
func (g *Guard) chains(ctx context.Context, tooMany string) error {
	forward, input := g.rules(tooMany)
	if holds(ctx, g.forward(), forward) && holds(ctx, g.input(), input) {
		return nil
	}
	text := fmt.Sprintf("*filter\n:%s - [0:0]\n:%s - [0:0]\n", g.forward(), g.input()) +
		appended(g.forward(), forward) + appended(g.input(), input) + "COMMIT\n"
	_, err := run(ctx, text, "iptables-restore", "-w", "5", "--noflush")
	return err
}

// appended are the lines that append rules to a chain.
func appended(chain string, rules []string) string {
	var text strings.Builder
	for _, r := range rules {
		fmt.Fprintf(&text, "-A %s %s\n", chain, r)
	}
	return text.String()
}

// holds reports whether a chain has exactly these rules. They are compared as
// iptables prints them: where another version does so in other words, they are
// written again.
func holds(ctx context.Context, chain string, rules []string) bool {
	list, err := run(ctx, "", "iptables", "-w", "5", "-S", chain)
	return err == nil && list == "-N "+chain+"\n"+appended(chain, rules)
}

// applySix shuts IPv6 between containers and the node: containers have no
// IPv6 but what the kernel gives each link.
func (g *Guard) applySix(ctx context.Context) error {
	if _, err := os.Stat("/proc/net/if_inet6"); errors.Is(err, fs.ErrNotExist) {
		return nil // the kernel has none
	}
	text := fmt.Sprintf("*filter\n:%[1]s - [0:0]\n:%[2]s - [0:0]\n-A %[1]s -i %[3]s -j REJECT\n-A %[2]s -i %[3]s -j REJECT\nCOMMIT\n", g.forward(), g.input(), g.cfg.Bridge)
	if _, err := run(ctx, text, "ip6tables-restore", "-w", "5", "--noflush"); err != nil {
		return err
	}
	return errors.Join(
		jumpFirst(ctx, "ip6tables", "FORWARD", g.forward()),
		jumpFirst(ctx, "ip6tables", "INPUT", g.input()),
	)
}

// Remove takes all rules away: the node lost its role and runs no containers
// any more. Removing twice does no harm.
func (g *Guard) Remove(ctx context.Context) error {
	var errs []error
	for _, command := range []string{"iptables", "ip6tables"} {
		from := map[string]string{"INPUT": g.input(), "DOCKER-USER": g.forward(), "FORWARD": g.forward()}
		for chain, to := range from {
			if err := unjump(ctx, command, chain, to); err != nil {
				errs = append(errs, err)
			}
		}
		for _, chain := range []string{g.input(), g.forward()} {
			if _, err := run(ctx, "", command, "-w", "5", "-F", chain); err != nil {
				continue // there is none
			}
			_, err := run(ctx, "", command, "-w", "5", "-X", chain)
			errs = append(errs, err)
		}
	}
	g.mu.Lock()
	g.applied = errNotApplied
	g.mu.Unlock()
	return errors.Join(errs...)
}

// jumpFirst makes the jump to a chain the first rule of another, and the only
// one, in one transaction. Rules are named by what they say, not by where they
// stand: others change the table at the same time.
func jumpFirst(ctx context.Context, command, from, to string) error {
	list, err := run(ctx, "", command, "-w", "5", "-S", from)
	if err != nil {
		return fmt.Errorf("%w (is the Docker Engine's firewall on? it must run without --iptables=false)", err)
	}
	jump := "-A " + from + " -j " + to
	found, first, rules := 0, false, 0
	for line := range strings.Lines(list) {
		if !strings.HasPrefix(line, "-A ") {
			continue
		}
		rules++
		if strings.TrimSpace(line) == jump {
			found++
			first = first || rules == 1
		}
	}
	if found == 1 && first {
		return nil
	}
	text := "*filter\n" + strings.Repeat("-D "+from+" -j "+to+"\n", found) + "-I " + from + " 1 -j " + to + "\nCOMMIT\n"
	_, err = run(ctx, text, command+"-restore", "-w", "5", "--noflush")
	return err
}

// unjump removes every jump to a chain from another.
func unjump(ctx context.Context, command, from, to string) error {
	for range 10 {
		if _, err := run(ctx, "", command, "-w", "5", "-C", from, "-j", to); err != nil {
			return ctx.Err() // there is none, or no such chain
		}
		if _, err := run(ctx, "", command, "-w", "5", "-D", from, "-j", to); err != nil {
			return err
		}
	}
	return nil
}

const bridgeFilter = "/proc/sys/net/bridge/bridge-nf-call-iptables"

// bridgeFiltered makes sure that what one container sends to another on the
// same bridge passes the rules at all.
func bridgeFiltered(ctx context.Context) error {
	state, err := os.ReadFile(bridgeFilter)
	if err != nil {
		_, err = run(ctx, "", "modprobe", "br_netfilter")
		if err != nil {
			return fmt.Errorf("containers could reach each other: the kernel's module br_netfilter is missing: %w", err)
		}
		state, err = os.ReadFile(bridgeFilter)
	}
	if err == nil && strings.TrimSpace(string(state)) != "1" {
		err = os.WriteFile(bridgeFilter, []byte("1\n"), 0o644)
	}
	if err != nil {
		return fmt.Errorf("containers could reach each other: set net.bridge.bridge-nf-call-iptables to 1: %w", err)
	}
	return nil
}

// run runs a command with its input and returns its output.
func run(ctx context.Context, input, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	var out, failure strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &failure
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(failure.String()))
	}
	return out.String(), nil
}
