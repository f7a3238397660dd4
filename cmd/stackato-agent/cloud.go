package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/stackato/stackato/agent"
	"github.com/stackato/stackato/controller/blob"
	"github.com/stackato/stackato/controller/deploy"
	"github.com/stackato/stackato/controller/instances"
	"github.com/stackato/stackato/controller/routes"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/rpcerr"
)

// cloud is the Cloud Controller of this node: its parts, and who calls whom.
// It implements agent.CloudController.
type cloud struct {
	env       agent.ControllerEnv
	nodes     cloudNodes
	settings  settings
	store     *state.Store
	blobs     *blob.Cluster
	packages  *blob.Packages
	instances *instances.Table
	feed      *routes.Feed
	web       http.Handler

	nomad nomadClient // not to be copied
	parts

	mu      sync.Mutex
	serving error // nil while the API answers
}

// newCloud makes the parts. It starts nothing.
func newCloud(env agent.ControllerEnv) (*cloud, error) {
	c := &cloud{
		env: env, nodes: cloudNodes{env}, settings: settings{env.Cluster},
		store: state.New(raftLog{env.Consensus}), serving: errors.New("the API is starting"),
	}
	dir, err := blob.OpenDir(blob.DirConfig{Path: filepath.Join(env.Dir, "blobs"), Logger: env.Logger})
	if err != nil {
		return nil, fmt.Errorf("blobs: %w", err)
	}
	c.blobs = blob.NewCluster(dir, c.nodes, blob.ClusterConfig{Logger: env.Logger})
	c.packages = blob.NewPackages(c.blobs, blob.StateIndex{State: c.store}, blob.Limits{})
	c.nomad.env = env
	c.instances = instances.New(instances.Config{
		Nodes: c.nodes, Placements: placements{c}, Owner: c.owner, Restart: c.restartInstance, Logger: env.Logger, Now: env.Now,
	})
	c.feed = routes.New(routes.Config{
		State: c.store, Instances: c.instances, System: c.system, Term: env.Consensus.PrimaryTerm,
		Source: string(env.Self.ID) + "/" + uuid.NewString(), Logger: env.Logger,
	})
	c.makeParts()
	return c, nil
}

// Run implements agent.CloudController.
func (c *cloud) Run(ctx context.Context) error {
	defer c.nomad.close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.instances.Run(ctx) })
	group.Go(func() error { return c.feed.Run(ctx) })
	group.Go(func() error { return c.blobs.Run(ctx) })
	group.Go(func() error { return c.keepBlobs(ctx) })
	group.Go(func() error { return c.serve(ctx) })
	return ended(ctx, group.Wait())
}

// ended is nil for what ended because it was told to.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Ready implements agent.CloudController.
func (c *cloud) Ready() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.serving
}

func (c *cloud) setServing(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving = err
}

// nomadClient is the local Nomad, once its token is known.
type nomadClient struct {
	env agent.ControllerEnv

	mu     sync.Mutex
	client *deploy.Client
}

var errNoNomad = rpcerr.New(rpcerr.Unavailable, "Nomad's token is not known here yet")

func (n *nomadClient) get() (*deploy.Client, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.client != nil {
		return n.client, nil
	}
	_, token, err := n.env.Cluster.ManagementTokens()
	if err != nil {
		return nil, errNoNomad
	}
	n.client, err = deploy.NewClient(n.env.Nomad, token)
	return n.client, err
}

// await returns the client as soon as the token is known, or nil when ctx is
// done.
func (n *nomadClient) await(ctx context.Context) *deploy.Client {
	for {
		if c, err := n.get(); err == nil {
			return c
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (n *nomadClient) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.client != nil {
		n.client.Close()
		n.client = nil
	}
}
