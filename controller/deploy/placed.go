package deploy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/google/uuid"
	"github.com/hashicorp/nomad/api"
	"golang.org/x/sync/errgroup"

	"github.com/stackato/stackato/wire/instance"
)

// listFrom is from how many allocations on a list of all is cheaper than
// asking for each.
const listFrom = 256

// Placed returns where Nomad has placed the allocations, and of which job they
// are; those that it does not know are left out. What this server has is
// enough to know one, also without a leader: neither ever changes. That there
// is none only the leader can say.
func (c *Client) Placed(ctx context.Context, ids []string) (map[string]instance.Placement, error) {
	var (
		mu  sync.Mutex
		out = make(map[string]instance.Placement, len(ids))
	)
	if len(ids) >= listFrom {
		if err := c.listPlaced(ctx, ids, out); err != nil {
			return nil, err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, id := range ids {
		if _, ok := out[id]; ok || uuid.Validate(id) != nil {
			continue
		}
		g.Go(func() error {
			p, err := c.placed(ctx, id, true)
			if errors.Is(err, ErrNoAllocation) {
				p, err = c.placed(ctx, id, false)
			}
			if errors.Is(err, ErrNoAllocation) {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			out[id] = p
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

func (c *Client) listPlaced(ctx context.Context, ids []string, out map[string]instance.Placement) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	stubs, _, err := c.api.Allocations().List((&api.QueryOptions{AllowStale: true}).WithContext(ctx))
	if err != nil {
		return fmt.Errorf("nomad: list allocations: %w", err)
	}
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	for _, s := range stubs {
		if wanted[s.ID] {
			out[s.ID] = placement(s.NodeID, s.JobID, s.Name, s.DesiredStatus, s.ClientStatus)
		}
	}
	return nil
}

func (c *Client) placed(ctx context.Context, id string, stale bool) (instance.Placement, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	a, _, err := c.api.Allocations().Info(id, (&api.QueryOptions{AllowStale: stale}).WithContext(ctx))
	if statusOf(err) == http.StatusNotFound {
		return instance.Placement{}, ErrNoAllocation
	}
	if err != nil {
		return instance.Placement{}, fmt.Errorf("nomad: read allocation %s: %w", id, err)
	}
	return placement(a.NodeID, a.JobID, a.Name, a.DesiredStatus, a.ClientStatus), nil
}

// placement leaves Stopping off while the node is lost to Nomad: what runs
// there may be all that is left.
func placement(node, job, name, desired, state string) instance.Placement {
	a := Alloc{}
	a.setIndex(name)
	return instance.Placement{
		Node: node, Job: job, Index: a.Index,
		Stopping: desired != api.AllocDesiredStatusRun && state != AllocLost && state != AllocUnknown,
	}
}
