package chaos

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stackato/stackato/test/cluster"
)

// TestLoseAndRejoinMinority takes two of five voters, the Primary among them.
// One comes back with what it had, the other with an empty disk.
func TestLoseAndRejoinMinority(t *testing.T) {
	ctx := bounded(t, 90*time.Second)
	c := cluster.New(t, cluster.Options{Nodes: 5, Roles: cluster.EveryController, NoDocker: true, AgentEnv: agentAlone})
	must(t, c.Form(ctx))
	must(t, c.WaitFor(ctx, "five voters", func() error { return votersAre(ctx, c.Node(0), names(c.Nodes())) }))
	l := startLoad(t, fixed(c.Nodes()...)...)
	must(t, l.progress(ctx, c, 2, c.Nodes()...))

	primary, err := c.Primary(ctx)
	must(t, err)
	other := without(c.Nodes(), primary)[0]
	rest := without(c.Nodes(), primary, other)
	must(t, primary.Kill(ctx))
	must(t, other.Kill(ctx))
	_, err = primaryAmong(ctx, c, rest)
	must(t, err)
	must(t, l.progress(ctx, c, 5, rest...))

	must(t, primary.Start(ctx))
	must(t, l.progress(ctx, c, 2, primary))

	must(t, c.WaitFor(ctx, "gossip to miss "+other.Name, func() error { return missedByGossip(ctx, rest[0], other) }))
	_, err = rest[0].Kato(ctx, "node", "remove", other.Name, "--yes")
	must(t, err)
	must(t, other.Reset(ctx))
	must(t, other.Join(ctx, rest[0], other.Membership()))
	must(t, l.progress(ctx, c, 2, c.Nodes()...))
	must(t, c.WaitFor(ctx, "five voters again", func() error { return votersAre(ctx, other, names(c.Nodes())) }))
	l.finish(ctx, t, c)
}

// missedByGossip is nil when n takes a node for dead.
func missedByGossip(ctx context.Context, n, dead *cluster.Node) error {
	members, err := n.Client().Nodes(ctx)
	for _, m := range members {
		if m.Name == dead.Name && m.Gossip != "dead" {
			err = fmt.Errorf("it is %s", m.Gossip)
		}
	}
	return err
}

// TestRestartEverything cuts the power of the whole cluster under load.
func TestRestartEverything(t *testing.T) {
	ctx := bounded(t, 2*time.Minute)
	c := formed(ctx, t, cluster.Options{Nodes: 3, Roles: cluster.EveryController, NoDocker: true})
	waitAgreement(ctx, t, c, 3, 3, c.Nodes()...)
	l := startLoad(t, fixed(c.Nodes()...)...)
	must(t, l.progress(ctx, c, 10, c.Nodes()...))
	must(t, c.KillAll(ctx))
	began := time.Now()
	must(t, c.StartAll(ctx))
	must(t, l.progress(ctx, c, 2, c.Nodes()...))
	t.Logf("writes through every node %s after the power came back", time.Since(began).Round(100*time.Millisecond))
	l.finish(ctx, t, c)
	waitAgreement(ctx, t, c, 3, 3, c.Nodes()...)
}
