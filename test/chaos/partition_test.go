package chaos

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stackato/stackato/test/cluster"
)

// exitUnavailable is kato's exit code where the cluster cannot do it now.
const exitUnavailable = 5

// refusalPatience bounds the wait for a node without a majority to refuse: it
// hopes for an election for 5 s, and each call has the deadline of a minute.
const refusalPatience = 30 * time.Second

// TestPartition cuts the Primary off from the other two nodes while clients
// work on all of them.
func TestPartition(t *testing.T) {
	ctx := bounded(t, 2*time.Minute)
	c := formed(ctx, t, cluster.Options{Nodes: 3})
	waitAgreement(ctx, t, c, 3, 3, c.Nodes()...)
	l := startLoad(t, fixed(c.Nodes()...)...)
	must(t, l.progress(ctx, c, 2, c.Nodes()...))

	minority, err := c.Primary(ctx)
	must(t, err)
	majority := without(c.Nodes(), minority)
	must(t, c.Isolate(ctx, minority))
	_, err = primaryAmong(ctx, c, majority)
	must(t, err)
	must(t, l.progress(ctx, c, 5, majority...))
	_, err = majority[0].Kato(ctx, "config", "set", "chaos/side", `"majority"`)
	must(t, err)

	before := l.acks(minority.Name)
	var both sync.WaitGroup
	both.Go(func() { refuses(ctx, t, minority, "config", "set", "chaos/side", `"minority"`) })
	both.Go(func() { refuses(ctx, t, minority, "config", "get", "chaos/side") })
	both.Wait()
	if got := l.acks(minority.Name); got != before {
		t.Errorf("a node without a majority acknowledged %d writes", got-before)
	}
	must(t, l.progress(ctx, c, 5, majority...))

	healed := time.Now()
	must(t, c.Heal(ctx))
	must(t, l.progress(ctx, c, 2, c.Nodes()...))
	t.Logf("every node takes writes again %s after the cut was healed", time.Since(healed).Round(time.Millisecond))
	out, err := minority.Kato(ctx, "config", "get", "chaos/side")
	must(t, err)
	if !strings.Contains(out, "majority") {
		t.Errorf("the healed node says %q of what the majority wrote", out)
	}
	l.finish(ctx, t, c)
	waitAgreement(ctx, t, c, 3, 3, c.Nodes()...)
}

// refuses expects a node to say in time that there is no Primary.
func refuses(ctx context.Context, t *testing.T, n *cluster.Node, command ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, refusalPatience)
	defer cancel()
	began := time.Now()
	out, err := n.Kato(ctx, command...)
	took := time.Since(began)
	var failed *cluster.CommandError
	if !errors.As(err, &failed) {
		t.Errorf("%s without a majority: kato %s: %q, %v", n.Name, strings.Join(command, " "), out, err)
		return
	}
	t.Logf("%s after %s: exit code %d: %s", n.Name, took.Round(time.Millisecond), failed.Code, strings.TrimSpace(failed.Stderr))
	if failed.Code != exitUnavailable || !strings.Contains(failed.Stderr, "no Primary") {
		t.Errorf("want exit code %d and \"no Primary\"", exitUnavailable)
	}
}
