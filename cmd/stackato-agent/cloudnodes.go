package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/stackato/stackato/agent"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/controller/blob"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/logs"
	"github.com/stackato/stackato/wire/rpcerr"
)

// cloudNodes reaches other nodes for the Cloud Controller's parts. It
// implements instances.Nodes, logcache.Nodes and blob.Peers.
type cloudNodes struct{ env agent.ControllerEnv }

func (c cloudNodes) find(id string) (node.Node, error) {
	t, _ := c.env.Topology()
	i := slices.IndexFunc(t.Nodes, func(n node.Node) bool { return string(n.ID) == id })
	if i < 0 {
		return node.Node{}, fmt.Errorf("node %s does not belong to the cluster", id)
	}
	return t.Nodes[i], nil
}

// with lists the nodes that have one of the roles and do not have it stopped.
func (c cloudNodes) with(roles node.RoleSet) []node.Node {
	t, _ := c.env.Topology()
	var out []node.Node
	for _, n := range t.Nodes {
		if n.Roles.Without(n.StoppedRoles).HasAny(roles) {
			out = append(out, n)
		}
	}
	return out
}

func ids(list []node.Node) []string {
	out := []string{}
	for _, n := range list {
		out = append(out, string(n.ID))
	}
	return out
}

// DEAs implements instances.Nodes.
func (c cloudNodes) DEAs() ([]string, <-chan struct{}) {
	_, changed := c.env.Topology()
	return ids(c.with(node.NewRoleSet(node.DEA))), changed
}

// States implements instances.Nodes.
func (c cloudNodes) States(ctx context.Context, id string, report func(instance.Report)) error {
	n, err := c.find(id)
	if err != nil {
		return err
	}
	return c.env.Nodes.States(ctx, n, report)
}

// Measure implements instances.Nodes.
func (c cloudNodes) Measure(ctx context.Context, id, process string) ([]instance.Status, error) {
	n, err := c.find(id)
	if err != nil {
		return nil, err
	}
	return c.env.Nodes.Measure(ctx, n, process)
}

// LogNodes implements logcache.Nodes.
func (c cloudNodes) LogNodes(string) []string {
	return ids(c.with(node.NewRoleSet(node.DEA, node.Router, node.Controller)))
}

// ReadLogs implements logcache.Nodes.
func (c cloudNodes) ReadLogs(ctx context.Context, id string, req logs.ReadRequest) (logs.ReadResponse, error) {
	n, err := c.find(id)
	if err != nil {
		return logs.ReadResponse{}, err
	}
	return c.env.Nodes.ReadLogs(ctx, n, req)
}

// List implements blob.Peers.
func (c cloudNodes) List() (all, voters []blob.PeerID, self bool) {
	t, _ := c.env.Topology()
	for _, n := range t.Nodes {
		votes := slices.Contains(t.Voters, n.ID)
		switch {
		case n.ID == c.env.Self.ID:
			self = votes
		case votes:
			all, voters = append(all, blob.PeerID(n.ID)), append(voters, blob.PeerID(n.ID))
		case n.Roles.Has(node.Controller):
			all = append(all, blob.PeerID(n.ID))
		}
	}
	return all, voters, self
}

// Put implements blob.Peers.
func (c cloudNodes) Put(ctx context.Context, peer blob.PeerID, b blob.Blob, r io.Reader) error {
	n, err := c.find(string(peer))
	if err != nil {
		return err
	}
	return c.env.Nodes.HoldBlob(ctx, n, b, r)
}

// Get implements blob.Peers.
func (c cloudNodes) Get(ctx context.Context, peer blob.PeerID, digest string) (io.ReadCloser, error) {
	n, err := c.find(string(peer))
	if err != nil {
		return nil, err
	}
	r, _, err := c.env.Nodes.HeldBlob(ctx, n, digest)
	return r, blobError(err)
}

// Has implements blob.Peers.
func (c cloudNodes) Has(ctx context.Context, peer blob.PeerID, digest string) (blob.Info, error) {
	n, err := c.find(string(peer))
	if err != nil {
		return blob.Info{}, err
	}
	info, err := c.env.Nodes.HasBlob(ctx, n, digest)
	return blob.Info{Blob: blob.Blob{Digest: digest, Size: info.Size}, Put: info.Put}, blobError(err)
}

// blobError turns what another controller said into the store's errors.
func blobError(err error) error {
	if rpcerr.Of(err) == rpcerr.NotFound {
		return fmt.Errorf("%w: %w", blob.ErrNotFound, err)
	}
	return err
}
