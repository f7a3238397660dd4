package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/test/cluster"
)

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bounded is the test's context with an end.
func bounded(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// agentAlone are nodes that run neither Consul nor Nomad: what the agent
// promises needs no other.
var agentAlone = map[string]string{"STACKATO_CHILDREN": "false"}

// formed returns a healthy cluster.
func formed(ctx context.Context, t *testing.T, o cluster.Options) *cluster.Cluster {
	t.Helper()
	c := cluster.New(t, o)
	must(t, c.Form(ctx))
	if o.AgentEnv["STACKATO_CHILDREN"] != "false" {
		must(t, c.WaitHealthy(ctx))
	}
	return c
}

func names(nodes []*cluster.Node) string {
	out := make([]string, 0, len(nodes))
	for _, n := range nodes {
		out = append(out, n.Name)
	}
	return strings.Join(out, ", ")
}

func without(nodes []*cluster.Node, not ...*cluster.Node) []*cluster.Node {
	return slices.DeleteFunc(slices.Clone(nodes), func(n *cluster.Node) bool { return slices.Contains(not, n) })
}

// primaryAmong waits until one of the nodes is the Primary and all of them
// agree on it.
func primaryAmong(ctx context.Context, c *cluster.Cluster, nodes []*cluster.Node) (*cluster.Node, error) {
	var found *cluster.Node
	err := c.WaitFor(ctx, "a Primary among "+names(nodes), func() error {
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
