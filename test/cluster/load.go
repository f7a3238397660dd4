package cluster

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// ErrNotFound is what Load returns for a cluster that does not exist.
var ErrNotFound = errors.New("no such cluster")

// Load finds a cluster that an earlier process made with [Create]. Nodes that
// are off stay off. Cuts of the network that are in force are not known, and
// only the parts of Options that nodes keep are: o says the rest again.
func Load(ctx context.Context, name string, o Options) (*Cluster, error) {
	o.name = name
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := checkMachine(ctx); err != nil {
		return nil, err
	}
	lines, err := dockerLines(ctx, "ps", "--all", "--filter", "label="+labelCluster+"="+name,
		"--format", `{{.Label "`+labelNode+`"}} {{.Image}}`)
	if err != nil {
		return nil, err
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	subnet, err := docker(ctx, "network", "inspect", "--format", "{{(index .IPAM.Config 0).Subnet}}", name)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Name: name, opts: o, cuts: cuts{}, prefix: subnet[:strings.LastIndexByte(subnet, '.')]}
	for _, line := range lines {
		number, image, _ := strings.Cut(line, " ")
		i, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("%s: a container with the label %s=%q", name, labelNode, number)
		}
		c.image = image
		n := newNode(c, i-1)
		if err := errors.Join(n.findVolume(ctx), n.findPID(ctx)); err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, n)
	}
	sort.Slice(c.nodes, func(i, j int) bool { return c.nodes[i].index < c.nodes[j].index })
	return c, nil
}

// Resume brings every node back that is off or paused, and returns when their
// agents answer.
func (c *Cluster) Resume(ctx context.Context) error {
	return c.Each(ctx, func(ctx context.Context, n *Node) error {
		state, err := docker(ctx, "inspect", "--format", "{{.State.Status}}", n.Container)
		if err != nil {
			return err
		}
		switch state {
		case "running":
		case "paused":
			err = n.Unpause(ctx)
		default:
			c.opts.Logf("%s: %s was off, starting it", c.Name, n.Name)
			err = n.Start(ctx)
		}
		if err != nil {
			return err
		}
		return n.WaitAgent(ctx)
	})
}
