package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stackato/stackato/test/cluster"
)

// long skips a test that takes minutes, unless the long ones are wanted.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv(envLong) != "1" {
		t.Skip("takes minutes: set " + envLong + "=1, or run make test-long")
	}
}

// TestReplaceEveryNode replaces three nodes one after the other, the Primary
// among them, while clients go on writing settings by the command kato.
func TestReplaceEveryNode(t *testing.T) {
	long(t)
	ctx := bounded(t, 5*time.Minute)
	c := formed(ctx, t, cluster.Options{Nodes: 3, Roles: cluster.EveryController, NoDocker: true})
	waitAgreement(ctx, t, c, 3, 3, c.Nodes()...)
	originals := c.Nodes()
	l := startTyping(t, anyOf(c, 0), anyOf(c, 1))

	for _, old := range originals {
		before := len(c.Nodes())
		fresh, err := c.Add(ctx)
		must(t, err)
		must(t, fresh.Join(ctx, without(c.Nodes(), fresh, old)[0], fresh.Membership()))
		must(t, c.WaitMembers(ctx, before+1))
		began := time.Now()
		must(t, old.Leave(ctx, false))
		t.Logf("%s joined; %s left within %s", fresh.Name, old.Name, time.Since(began).Round(100*time.Millisecond))
		must(t, old.Destroy(ctx))
		waitAgreement(ctx, t, c, 3, 3, c.Nodes()...)
		must(t, l.progress(ctx, c, 2, fresh))
	}
	l.finish(ctx, t, c)
}

// anyOf is a target that goes round all nodes of the moment.
func anyOf(c *cluster.Cluster, start int) func() *cluster.Node {
	i := start
	return func() *cluster.Node {
		i++
		nodes := c.Nodes()
		return nodes[i%len(nodes)]
	}
}

// TestDeadVoterReplaced loses a voter for good: a controller that stood by
// takes its place in Raft, Consul and Nomad. Then the cluster shrinks to two
// controllers, which make one voter.
func TestDeadVoterReplaced(t *testing.T) {
	long(t)
	ctx := bounded(t, 3*time.Minute)
	c := formed(ctx, t, cluster.Options{Nodes: 4, Roles: cluster.EveryController, NoDocker: true})
	waitAgreement(ctx, t, c, 4, 3, c.Nodes()[:3]...) // the fourth runs no Nomad
	_, err := c.Node(0).Kato(ctx, "config", "set", "cluster/voter_grace_seconds", "2")
	must(t, err)

	dead := c.Node(1)
	rest := without(c.Nodes(), dead)
	killed := time.Now()
	must(t, dead.Kill(ctx))
	must(t, c.WaitFor(ctx, "three voters without "+dead.Name, func() error { return votersAre(ctx, rest[0], names(rest)) }))
	t.Logf("%s votes in place of %s %s after its end", c.Node(3).Name, dead.Name, time.Since(killed).Round(100*time.Millisecond))
	_, err = rest[0].Kato(ctx, "node", "remove", dead.Name, "--yes")
	must(t, err)
	must(t, dead.Destroy(ctx))
	waitAgreement(ctx, t, c, 3, 3, rest...)

	must(t, rest[1].Leave(ctx, false))
	must(t, rest[1].Destroy(ctx))
	primary, err := primaryAmong(ctx, c, c.Nodes())
	must(t, err)
	waitAgreement(ctx, t, c, 2, 1, primary)
}

// votersAre is nil when Raft's voters are these and all of them are up.
func votersAre(ctx context.Context, n *cluster.Node, want string) error {
	s, err := n.Client().Status(ctx, true)
	if err != nil {
		return err
	}
	got := ""
	for _, v := range s.Voters {
		if got != "" {
			got += ", "
		}
		got += v
	}
	if got != want {
		return fmt.Errorf("voters are %s, not %s", got, want)
	}
	if s.Primary == "" {
		return errors.New("there is no Primary")
	}
	return nil
}
