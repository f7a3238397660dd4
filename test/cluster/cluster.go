package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Cluster is a set of nodes on one private network. [New] and [Create] make
// one.
type Cluster struct {
	// Name is part of the names of all its containers and volumes.
	Name string

	opts   Options
	image  string
	prefix string // first three numbers of its addresses

	mu    sync.Mutex
	nodes []*Node // in order of creation, destroyed ones included
	cuts  cuts
}

// Create starts the machines of a cluster that outlives the process, under
// the given name. Their agents run unconfigured (see [Cluster.Form]) unless
// o.NoAgent. On an error nothing is left behind.
func Create(ctx context.Context, name string, o Options) (*Cluster, error) {
	o.name = name
	return create(ctx, o)
}

func create(ctx context.Context, o Options) (_ *Cluster, err error) {
	o, err = o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := checkMachine(ctx); err != nil {
		return nil, err
	}
	if !o.NoAgent {
		if err := checkBinaries(o.BinDir); err != nil {
			return nil, err
		}
	}
	c := &Cluster{Name: o.name, opts: o, cuts: cuts{}}
	if c.image, err = buildImage(ctx, o.Logf); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Remove(context.WithoutCancel(ctx)))
		}
	}()
	if c.prefix, err = createNetwork(ctx, o); err != nil {
		return nil, err
	}
	start := time.Now()
	for range o.Nodes {
		c.newNode()
	}
	err = c.Each(ctx, func(ctx context.Context, n *Node) error { return n.create(ctx) })
	if err != nil {
		return nil, err
	}
	o.Logf("%s: %d machines up in %s", c.Name, o.Nodes, time.Since(start).Round(10*time.Millisecond))
	return c, nil
}

// newNode takes the next number. Its container does not exist yet.
func (c *Cluster) newNode() *Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := newNode(c, len(c.nodes))
	c.nodes = append(c.nodes, n)
	return n
}

// Add starts one more machine, with the next free name and address. Its agent
// runs unconfigured unless Options.NoAgent.
func (c *Cluster) Add(ctx context.Context) (*Node, error) {
	n := c.newNode()
	if n.index >= maxNodes {
		return nil, fmt.Errorf("%s has no addresses left for a node %d", c.Name, n.index+1)
	}
	return n, n.create(ctx)
}

// Node returns node i, counted from 0 in order of creation: Node(0) is n1.
// It panics when there is none.
func (c *Cluster) Node(i int) *Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[i]
}

// Nodes returns the nodes that were not destroyed, in order of creation.
func (c *Cluster) Nodes() []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.nodes), func(n *Node) bool { return n.destroyed.Load() })
}

// ByName returns the node of that name, or nil.
func (c *Cluster) ByName(name string) *Node {
	for _, n := range c.Nodes() {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// Each calls f for every node at the same time and returns the first error.
func (c *Cluster) Each(ctx context.Context, f func(context.Context, *Node) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range c.Nodes() {
		g.Go(func() error { return f(ctx, n) })
	}
	return g.Wait()
}

// KillAll cuts the power of every node at once.
func (c *Cluster) KillAll(ctx context.Context) error {
	return c.Each(ctx, func(ctx context.Context, n *Node) error { return n.Kill(ctx) })
}

// StartAll switches every node on at once.
func (c *Cluster) StartAll(ctx context.Context) error {
	return c.Each(ctx, func(ctx context.Context, n *Node) error { return n.Start(ctx) })
}

// Remove deletes the cluster: containers, volumes with all data, network.
func (c *Cluster) Remove(ctx context.Context) error {
	_, err := remove(ctx, labelCluster+"="+c.Name, nil)
	return err
}
