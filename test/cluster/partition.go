package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// cuts holds for each receiving node the senders whose packets it drops.
type cuts map[*Node]map[*Node]bool

// chain is where a node's cuts are, before anything else sees a packet: also
// before its Docker Engine maps ports to containers.
const chain = "STACKATO-CUT"

// Partition cuts the network between two groups of nodes, as a pulled cable:
// packets vanish, nobody gets an error, established connections hang. Nodes
// within a group, and this host, still reach each other. It adds to earlier
// cuts and survives a node's restart; [Cluster.Heal] ends it.
func (c *Cluster) Partition(ctx context.Context, a, b []*Node) error {
	c.mu.Lock()
	for _, x := range a {
		for _, y := range b {
			if x != y {
				c.cut(x, y)
				c.cut(y, x)
			}
		}
	}
	c.mu.Unlock()
	return c.applyAll(ctx, slices.Concat(a, b))
}

// Isolate cuts a node off from all others.
func (c *Cluster) Isolate(ctx context.Context, n *Node) error {
	others := slices.DeleteFunc(c.Nodes(), func(o *Node) bool { return o == n })
	return c.Partition(ctx, []*Node{n}, others)
}

// Deafen drops what from sends to to, in this direction only: from still
// hears to. Connections between them fail, datagrams pass one way.
func (c *Cluster) Deafen(ctx context.Context, from, to *Node) error {
	c.mu.Lock()
	c.cut(from, to)
	c.mu.Unlock()
	return c.applyAll(ctx, []*Node{to})
}

// Heal ends every cut.
func (c *Cluster) Heal(ctx context.Context) error {
	c.mu.Lock()
	nodes := slices.Collect(maps.Keys(c.cuts))
	c.cuts = cuts{}
	c.mu.Unlock()
	return c.applyAll(ctx, nodes)
}

// cut notes a cut; c.mu is held.
func (c *Cluster) cut(from, to *Node) {
	if c.cuts[to] == nil {
		c.cuts[to] = map[*Node]bool{}
	}
	c.cuts[to][from] = true
}

func (c *Cluster) applyAll(ctx context.Context, nodes []*Node) error {
	for _, n := range nodes {
		if err := c.applyCuts(ctx, n, false); err != nil {
			return err
		}
	}
	return nil
}

// applyCuts brings a node's rules to what is noted, in one step. A node that
// is off gets them when it starts.
func (c *Cluster) applyCuts(ctx context.Context, n *Node, fresh bool) error {
	pid := n.hostPID()
	if pid == 0 || n.destroyed.Load() {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*mangle\n:%s - [0:0]\n", chain) // makes the chain, or empties it
	if fresh {
		fmt.Fprintf(&b, "-I PREROUTING -j %s\n", chain)
	}
	c.mu.Lock()
	for from := range c.cuts[n] {
		fmt.Fprintf(&b, "-A %s -s %s -j DROP\n", chain, from.Address)
	}
	c.mu.Unlock()
	b.WriteString("COMMIT\n")
	_, err := run(ctx, input{stdin: b.String()}, "nsenter", "--target", fmt.Sprint(pid), "--net",
		"iptables-restore", "--noflush", "--wait", "5")
	if err != nil {
		return fmt.Errorf("%s: cutting the network: %w", n.Name, err)
	}
	return nil
}
