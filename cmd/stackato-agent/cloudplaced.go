package main

import (
	"context"
	"slices"

	"github.com/stackato/stackato/agent"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/rpcerr"
)

// Placed implements agent.CloudController: other controllers ask this one.
func (c *cloud) Placed(ctx context.Context, ids []string) (map[string]instance.Placement, error) {
	client, err := c.nomad.get()
	if err != nil {
		return nil, err
	}
	out, err := client.Placed(ctx, ids)
	if err != nil {
		return nil, rpcerr.New(rpcerr.Unavailable, "the scheduler does not answer: %w", err)
	}
	return out, nil
}

// placements implements instances.Placements: this node's Nomad server is
// asked, then the others. Controllers that are no voters run none.
type placements struct{ c *cloud }

func (p placements) Placed(ctx context.Context, ids []string) (map[string]instance.Placement, error) {
	env := p.c.env
	t, _ := env.Topology()
	err := error(rpcerr.New(rpcerr.Unavailable, "no controller with a Nomad server is known"))
	if slices.Contains(t.Voters, env.Self.ID) {
		var out map[string]instance.Placement
		if out, err = p.c.Placed(ctx, ids); err == nil {
			return out, nil
		}
	}
	for _, id := range t.Voters {
		i := slices.IndexFunc(t.Nodes, func(n node.Node) bool { return n.ID == id })
		if i < 0 || id == env.Self.ID || ctx.Err() != nil {
			continue
		}
		out, other := placedBy(ctx, env.Nodes, t.Nodes[i], ids)
		if other == nil {
			return out, nil
		}
		err = other
	}
	return nil, err
}

// askPlaced bounds what one request asks.
const askPlaced = 1000

func placedBy(ctx context.Context, nodes agent.NodeCalls, n node.Node, ids []string) (map[string]instance.Placement, error) {
	all := map[string]instance.Placement{}
	for part := range slices.Chunk(ids, askPlaced) {
		out, err := nodes.Placed(ctx, n, part)
		if err != nil {
			return nil, err
		}
		for id, p := range out {
			all[id] = p
		}
	}
	return all, nil
}

// images returns what each DEA has verified, by the node's name.
func (c *cloud) images() map[string][]string {
	out := map[string][]string{}
	have := c.instances.Images()
	for _, n := range c.nodes.with(node.NewRoleSet(node.DEA)) {
		out[n.Name] = have[string(n.ID)]
	}
	return out
}

// owner implements instances.Owner.
func (c *cloud) owner(process, version string) (app, kind string, ok bool) {
	v := c.store.Local()
	if version == "" {
		t, ok := v.Task(process)
		return t.AppGUID, "", ok
	}
	pv, ok := v.ProcessVersion(process, version)
	return pv.AppGUID, pv.Type, ok
}
