package fence

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestGuardConnections: a container opens as many connections outward as it may
// and no more, also after the rules were applied again, and the others have
// theirs.
func TestGuardConnections(t *testing.T) {
	const limit, wanted = 20, 30
	n := newNetwork(t, 3)
	holder := func() (held func() string) {
		id := docker(t, "run", "-d", "--network", n.name, built.image, "/bin/testapp", "hold", n.outside+":80", fmt.Sprint(wanted))
		t.Cleanup(func() { docker(t, "rm", "-f", id) })
		return func() string { return docker(t, "logs", id) }
	}
	enough := fmt.Sprint("held: ", wanted)
	free := holder()
	await(t, "all connections without the guard", func() bool { return strings.Contains(free(), enough) })

	g := NewGuard(GuardConfig{
		Bridge: n.bridge, Chain: strings.ToUpper(n.name), Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Connections: limit,
	})
	t.Cleanup(func() {
		if err := g.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := g.apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	if g.uncounted {
		t.Skip("this kernel has no xt_connlimit")
	}
	bound := holder()
	refused := func(more int) {
		t.Helper()
		tries := func() int { return strings.Count(bound(), fmt.Sprint("held: ", limit, "\n")) }
		before := tries()
		await(t, "refused connections", func() bool { return tries() >= before+more })
		if log := bound(); strings.Contains(log, enough) || strings.Contains(log, fmt.Sprint("held: ", limit+1)) {
			t.Fatalf("it holds more than it may:\n%s", log)
		}
	}
	refused(3)
	for range 2 { // what was counted stays
		if err := g.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		refused(3)
	}
	if got := n.reached(n.outside + ":80"); !all(got, true) {
		t.Errorf("another container does not reach the world: %v", got)
	}
}

// TestGuardWithoutConnlimit: a kernel, or an iptables, that refuses the rule that
// counts connections does not leave the node without the others.
func TestGuardWithoutConnlimit(t *testing.T) {
	if os.Getuid() != 0 || exec.Command("iptables", "-S", "DOCKER-USER").Run() != nil {
		t.Skip("there is no firewall of Docker's that may be changed")
	}
	var log strings.Builder
	chain := fmt.Sprintf("SGC%d", os.Getpid())
	g := NewGuard(GuardConfig{Bridge: "sgc-none", Chain: chain, Connections: -1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	t.Cleanup(func() {
		if err := g.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		if err := g.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if forward, _ := g.rules(""); !holds(t.Context(), g.forward(), forward) {
		t.Error("the other rules do not hold")
	}
	if n := strings.Count(log.String(), "not limited"); n != 1 {
		t.Errorf("it was said %d times: %s", n, log.String())
	}
}
