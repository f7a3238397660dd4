package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/local"
)

// bounded is the test's context with an end.
func bounded(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// katoStatus runs kato status -a --json. Exit code 1 means that something is
// not well; the table comes all the same.
func katoStatus(ctx context.Context, n *Node) (local.Status, error) {
	var s local.Status
	out, err := n.Kato(ctx, "status", "-a", "--json")
	var failed *CommandError
	if err != nil && (!errors.As(err, &failed) || out == "") {
		return s, err
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return s, fmt.Errorf("%w in %q", err, out)
	}
	return s, nil
}

// TestForm1To3 grows a cluster from one node to three and holds what every
// node says about it against what was asked for.
func TestForm1To3(t *testing.T) {
	c := New(t, Options{Nodes: 3})
	ctx := bounded(t, 3*time.Minute)
	n1 := c.Node(0)

	must(t, n1.Init(ctx))
	must(t, c.WaitFor(ctx, "n1 to be a healthy cluster of its own", func() error {
		s, err := katoStatus(ctx, n1)
		if err != nil {
			return err
		}
		if len(s.Nodes) != 1 || s.Primary != "n1" || !cmp.Equal(s.Voters, []string{"n1"}) {
			return fmt.Errorf("%d nodes, Primary %q, voters %v", len(s.Nodes), s.Primary, s.Voters)
		}
		return unhealthy(s)
	}))

	for _, n := range c.Nodes()[1:] {
		start := time.Now()
		m := n.Membership()
		if n == c.Node(2) {
			m.By = n1.Name // DNS, of Docker's network
		}
		must(t, n.Join(ctx, n1, m))
		t.Logf("%s joined in %s", n.Name, since(start))
	}
	must(t, c.WaitMembers(ctx, 3))
	for _, n := range c.Nodes() {
		must(t, c.WaitFor(ctx, "three healthy nodes, as "+n.Name+" sees it", func() error {
			s, err := katoStatus(ctx, n)
			if err != nil {
				return err
			}
			if err := unhealthy(s); err != nil {
				return err
			}
			return describesThree(c, s)
		}))
		must(t, c.WaitFor(ctx, "three members in Consul, as "+n.Name+" sees it", func() error { return consulCounts(ctx, n, 3) }))
	}
}

// consulCounts holds what consul members says on a node.
func consulCounts(ctx context.Context, n *Node, want int) error {
	b, err := os.ReadFile(n.HostPath(DataDir + "/consul/config.json"))
	if err != nil {
		return err
	}
	var config struct {
		ACL struct{ Tokens struct{ Agent string } }
	}
	if err := json.Unmarshal(b, &config); err != nil {
		return err
	}
	out, err := n.ExecEnv(ctx, map[string]string{"CONSUL_HTTP_TOKEN": config.ACL.Tokens.Agent}, "consul", "members")
	if err != nil {
		return err
	}
	if got := strings.Count(out, " alive "); got != want {
		return fmt.Errorf("%d alive:\n%s", got, out)
	}
	return nil
}

// describesThree holds a status against a formed cluster of three.
func describesThree(c *Cluster, s local.Status) error {
	want := []string{"n1", "n2", "n3"}
	if d := cmp.Diff(want, s.Voters); d != "" || !s.Redundant {
		return fmt.Errorf("redundant %v, voters (-want +got):\n%s", s.Redundant, d)
	}
	got := make([]string, 0, 3)
	for _, n := range s.Nodes {
		got = append(got, n.Name)
		if n.Gossip != "alive" {
			return fmt.Errorf("%s is %q by gossip", n.Name, n.Gossip)
		}
		if node := c.ByName(n.Name); node == nil || node.Address != n.Address {
			return fmt.Errorf("%s has the address %s", n.Name, n.Address)
		}
		roles := make([]string, 0, 4)
		for _, r := range n.Roles {
			roles = append(roles, string(r.Role))
		}
		slices.Sort(roles)
		if d := cmp.Diff([]string{"base", "controller", "dea", "router"}, roles); d != "" {
			return fmt.Errorf("roles of %s (-want +got):\n%s", n.Name, d)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		return fmt.Errorf("nodes (-want +got):\n%s", strings.TrimSpace(d))
	}
	return nil
}
