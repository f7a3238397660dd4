package deploy

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/stackato/stackato/jobs"
)

// StackMeta is the part of a [Client] that announces images.
type StackMeta interface {
	// Stacks returns the keys of a node's metadata that announce an image.
	Stacks(ctx context.Context, node string) ([]string, error)
	// SetStacks adds and removes such keys.
	SetStacks(ctx context.Context, node string, add, remove []string) error
}

// How often it is looked whether a node has other images, how soon what failed
// is tried again, and how often the metadata are read: a node may have lost
// them.
const (
	announceEvery  = 250 * time.Millisecond
	announceRetry  = time.Second
	announceReread = 30 * time.Second
	// announceWithin bounds the calls about one node.
	announceWithin = 5 * time.Second
)

// AnnounceStacks makes Nomad place work only where its image is: what a node
// has verified, as images returns it by node ID, becomes metadata of the node,
// and goes when the image goes. A node that is left out stays as it is. It
// blocks until ctx is done.
func AnnounceStacks(ctx context.Context, n StackMeta, images func() map[string][]string, log *slog.Logger) {
	a := announcer{nomad: n, log: log, nodes: map[string]*announced{}}
	for {
		a.round(ctx, images())
		if sleep(ctx, announceEvery) != nil {
			return
		}
	}
}

type announcer struct {
	nomad StackMeta
	log   *slog.Logger
	nodes map[string]*announced
}

// announced is what was done last for a node.
type announced struct {
	images []string
	next   time.Time // when it is due though nothing has changed
	failed bool
}

func (a *announcer) round(ctx context.Context, images map[string][]string) {
	for node := range a.nodes {
		if _, ok := images[node]; !ok {
			delete(a.nodes, node)
		}
	}
	now := time.Now()
	for node, have := range images {
		was := a.nodes[node]
		if was != nil && now.Before(was.next) && (was.failed || slices.Equal(was.images, have)) {
			continue
		}
		next := &announced{images: have, next: now.Add(announceReread)}
		if err := a.one(ctx, node, have); err != nil {
			if ctx.Err() != nil {
				return
			}
			if was == nil || !was.failed {
				a.log.Info("a node's images cannot be announced to Nomad yet", "node", node, "err", err)
			}
			next.failed, next.next = true, now.Add(announceRetry)
		}
		a.nodes[node] = next
	}
}

func (a *announcer) one(ctx context.Context, node string, images []string) error {
	ctx, cancel := context.WithTimeout(ctx, announceWithin)
	defer cancel()
	have, err := a.nomad.Stacks(ctx, node)
	if err != nil {
		return err
	}
	var add, remove, want []string
	for _, image := range images {
		key := jobs.StackMeta(image)
		want = append(want, key)
		if !slices.Contains(have, key) {
			add = append(add, key)
		}
	}
	for _, key := range have {
		if !slices.Contains(want, key) {
			remove = append(remove, key)
		}
	}
	if len(add)+len(remove) == 0 {
		return nil
	}
	if err := a.nomad.SetStacks(ctx, node, add, remove); err != nil {
		return err
	}
	a.log.Info("images that a node has", "node", node, "images", strings.Join(images, " "), "added", len(add), "removed", len(remove))
	return nil
}

var _ StackMeta = (*Client)(nil)

// Stacks implements [StackMeta].
func (c *Client) Stacks(ctx context.Context, node string) ([]string, error) {
	m, err := c.api.Nodes().Meta().Read(node, (&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("nomad: read metadata of node %s: %w", node, err)
	}
	var out []string
	for key, value := range m.Meta {
		if jobs.IsStackMeta(key) && value == "true" {
			out = append(out, key)
		}
	}
	return out, nil
}

// SetStacks implements [StackMeta].
func (c *Client) SetStacks(ctx context.Context, node string, add, remove []string) error {
	yes := "true"
	req := &api.NodeMetaApplyRequest{NodeID: node, Meta: map[string]*string{}}
	for _, key := range add {
		req.Meta[key] = &yes
	}
	for _, key := range remove {
		req.Meta[key] = nil
	}
	if _, err := c.api.Nodes().Meta().Apply(req, (&api.QueryOptions{}).WithContext(ctx)); err != nil {
		return fmt.Errorf("nomad: set metadata of node %s: %w", node, err)
	}
	return nil
}
