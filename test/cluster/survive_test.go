package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// primaryAmong waits until one of the nodes is the Primary and all of them
// agree on it.
func primaryAmong(ctx context.Context, c *Cluster, nodes []*Node) (*Node, error) {
	var found *Node
	err := c.WaitFor(ctx, "a Primary among the reachable nodes", func() error {
		found = nil
		for _, n := range nodes {
			info, err := n.Client().Info(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", n.Name, err)
			}
			p := c.ByName(info.Primary)
			if p == nil || !slices.Contains(nodes, p) {
				return fmt.Errorf("%s takes %q for the Primary", n.Name, info.Primary)
			}
			if found != nil && p != found {
				return errors.New("the nodes do not agree")
			}
			found = p
		}
		return nil
	})
	return found, err
}

func without(nodes []*Node, n *Node) []*Node {
	return slices.DeleteFunc(slices.Clone(nodes), func(o *Node) bool { return o == n })
}

// TestSurvive puts one cluster of three controllers through what machines
// suffer. Each part leaves it healthy.
func TestSurvive(t *testing.T) {
	c := New(t, Options{Nodes: 3, Roles: EveryController, NoDocker: true})
	must(t, c.Form(bounded(t, time.Minute)))
	// A controller runs a Nomad server once it has a vote.
	must(t, c.WaitFor(bounded(t, time.Minute), "Nomad on three voters", func() error {
		for _, n := range c.Nodes() {
			pids, err := n.PIDs("nomad")
			if err != nil {
				return err
			}
			if len(pids) != 1 {
				return fmt.Errorf("%s runs %d", n.Name, len(pids))
			}
		}
		return nil
	}))
	must(t, c.WaitHealthy(bounded(t, time.Minute)))
	must(t, c.WaitFor(bounded(t, time.Minute), "Consul and Nomad to be ready", func() error { return childrenReady(t.Context(), c) }))

	part := func(name string, f func(*testing.T, context.Context)) {
		ok := t.Run(name, func(t *testing.T) { f(t, bounded(t, 90*time.Second)) })
		if !ok {
			t.FailNow() // the cluster is in an unknown state
		}
	}
	part("agent killed, children adopted", func(t *testing.T, ctx context.Context) { agentKilled(ctx, t, c) })
	part("power loss of the Primary", func(t *testing.T, ctx context.Context) { primaryKilled(ctx, t, c) })
	part("Primary cut off", func(t *testing.T, ctx context.Context) { primaryCutOff(ctx, t, c) })
	part("power loss of all at once", func(t *testing.T, ctx context.Context) {
		must(t, c.KillAll(ctx))
		must(t, c.StartAll(ctx))
		must(t, c.WaitMembers(ctx, 3))
		must(t, c.WaitHealthy(ctx))
	})
}

// childrenReady is nil when Consul and Nomad of every node are: what is still
// starting may be started once more for what the node has heard meanwhile.
func childrenReady(ctx context.Context, c *Cluster) error {
	for _, n := range c.Nodes() {
		list, err := n.Client().Processes(ctx, false)
		if err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
		for _, p := range list {
			if !p.Ready {
				return fmt.Errorf("%s on %s is %s", p.Name, n.Name, p.State)
			}
		}
	}
	return nil
}

func agentKilled(ctx context.Context, t *testing.T, c *Cluster) {
	n := c.Node(1)
	children := func() map[string][]int {
		t.Helper()
		out := map[string][]int{}
		for _, program := range []string{"consul", "nomad"} {
			pids, err := n.PIDs(program)
			must(t, err)
			if len(pids) != 1 {
				t.Fatalf("%d daemons of %s run", len(pids), program)
			}
			out[program] = pids
		}
		return out
	}
	before := children()
	must(t, n.KillAgent(ctx))
	must(t, n.StartAgent(ctx))
	must(t, c.WaitMembers(ctx, 3))
	must(t, c.WaitHealthy(ctx))
	if d := cmp.Diff(before, children()); d != "" {
		t.Errorf("the restarted agent replaced its children (-before +after):\n%s", d)
	}
}

func primaryKilled(ctx context.Context, t *testing.T, c *Cluster) {
	old, err := c.Primary(ctx)
	must(t, err)
	_, err = old.Kato(ctx, "config", "set", "test/before", `"1"`)
	must(t, err)
	start := time.Now()
	must(t, old.Kill(ctx))
	rest := without(c.Nodes(), old)
	_, err = primaryAmong(ctx, c, rest)
	must(t, err)
	t.Logf("the others agree on a Primary %s after the kill was ordered", since(start))
	_, err = rest[0].Kato(ctx, "config", "set", "test/during", `"2"`)
	must(t, err)
	must(t, old.Start(ctx))
	must(t, old.WaitAgent(ctx))
	must(t, c.WaitMembers(ctx, 3))
	for _, key := range []string{"test/before", "test/during"} {
		if _, err := old.Kato(ctx, "config", "get", key); err != nil {
			t.Errorf("the returned node does not know %s: %v", key, err)
		}
	}
	must(t, c.WaitHealthy(ctx))
}

func primaryCutOff(ctx context.Context, t *testing.T, c *Cluster) {
	old, err := c.Primary(ctx)
	must(t, err)
	must(t, c.Isolate(ctx, old))
	rest := without(c.Nodes(), old)
	_, err = primaryAmong(ctx, c, rest)
	must(t, err)
	_, err = rest[0].Kato(ctx, "config", "set", "test/majority", `"3"`)
	must(t, err)
	if out, err := old.Kato(ctx, "config", "set", "test/minority", `"4"`); err == nil {
		t.Errorf("a node cut off from the majority acknowledged a write: %s", out)
	}
	must(t, c.Heal(ctx))
	must(t, c.WaitMembers(ctx, 3))
	if _, err := old.Kato(ctx, "config", "get", "test/majority"); err != nil {
		t.Errorf("the healed node does not know what the majority wrote: %v", err)
	}
	must(t, c.WaitHealthy(ctx))
}
