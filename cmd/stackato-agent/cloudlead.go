package main

import (
	"context"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stackato/stackato/controller/blob"
	"github.com/stackato/stackato/controller/deploy"
)

// Times of what only the Primary does.
const (
	maintainEvery = time.Hour
	againAfter    = time.Second // something failed
)

// Lead implements agent.CloudController.
func (c *cloud) Lead(ctx context.Context, term uint64) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { c.maintain(ctx); return nil })
	group.Go(func() error { return c.again(ctx, "staging", func() error { return c.stager.Run(ctx, term) }) })
	group.Go(func() error {
		client := c.nomad.await(ctx)
		if client == nil {
			return nil
		}
		c.deployer.Store(deploy.New(deploy.Config{
			State: func(term uint64) deploy.State { return c.asTerm(term) },
			Nomad: client, Instances: c.instances, Image: c.settings.image, Zones: c.nodes.zones, StackMeta: true, Images: c.images,
			Say: c.tell, Log: c.env.Logger, Now: c.now,
		}))
		group.Go(func() error {
			deploy.AnnounceStacks(ctx, client, c.instances.Images, c.env.Logger)
			return nil
		})
		return c.again(ctx, "deployments", func() error { return c.deployer.Load().Run(ctx, term) })
	})
	group.Go(func() error { return c.again(ctx, "health", func() error { return c.health.Run(ctx, term) }) })
	group.Go(func() error { return c.again(ctx, "jobs of the API", func() error { return c.api.RunJobs(ctx, term) }) })
	_ = group.Wait() // each goes on until leadership ends
}

// again runs a part anew when it fails, until ctx is done.
func (c *cloud) again(ctx context.Context, name string, run func() error) error {
	for ctx.Err() == nil {
		if err := run(); err != nil && ctx.Err() == nil {
			c.env.Logger.Error("a part of the Primary's work failed; it is begun anew", "part", name, "err", err)
		}
		pause(ctx, againAfter)
	}
	return nil
}

// maintain makes what a new cluster lacks and replaces signing keys that are
// old.
func (c *cloud) maintain(ctx context.Context) {
	for ctx.Err() == nil {
		err := c.api.Seed(ctx)
		if err == nil {
			err = c.uaa.Maintain(ctx)
		}
		if err == nil {
			err = c.pruneMatches(ctx)
		}
		if err != nil && ctx.Err() == nil {
			c.env.Logger.Warn("make what a new cluster begins with; will go on trying", "err", err)
			pause(ctx, againAfter)
			continue
		}
		pause(ctx, maintainEvery)
	}
}

// pruneMatches forgets which large files packages hold whose space or blob is
// gone.
func (c *cloud) pruneMatches(ctx context.Context) error {
	v, err := c.store.Read(ctx)
	if err != nil {
		return err
	}
	return blob.StateIndex{State: c.store}.Prune(ctx, c.blobs, func(guid string) bool { _, ok := v.Space(guid); return ok })
}

// pause waits for about d, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d*3/4 + rand.N(d/2)):
	}
}
