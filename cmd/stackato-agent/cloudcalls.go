package main

import (
	"context"
	"io"

	"github.com/stackato/stackato/agent"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/controller/deploy"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/routing"
	"github.com/stackato/stackato/wire/staging"
)

// Instance implements agent.CloudController.
func (c *cloud) Instance(ctx context.Context, from node.ID, r agent.InstanceRequest) (instance.Spec, error) {
	return c.specs.Instance(ctx, string(from), r.AllocID, r.Kind, r.Process, r.Version)
}

// Build implements agent.CloudController.
func (c *cloud) Build(ctx context.Context, from node.ID, r agent.BuildRequest) (staging.Spec, error) {
	return c.stager.Spec(ctx, string(from), r.AllocID, r.Build)
}

// Blob implements agent.CloudController: a build's with its token, else a
// droplet that is to run on the asking node.
func (c *cloud) Blob(ctx context.Context, from node.ID, r agent.BlobRequest) (io.ReadCloser, int64, error) {
	var (
		body io.ReadCloser
		size int64
		err  error
	)
	if r.Token == "" {
		body, size, err = c.specs.Droplet(ctx, string(from), r.Digest)
	} else {
		body, size, err = c.stager.Blob(ctx, string(from), r.Token, r.Digest)
	}
	return body, size, wireBlobError(err)
}

// PutDroplet implements agent.CloudController.
func (c *cloud) PutDroplet(ctx context.Context, _ node.ID, r agent.UploadRequest, body io.Reader) (instance.Blob, error) {
	b, err := c.stager.PutDroplet(ctx, r.Build, r.Token, body)
	return b, wireBlobError(err)
}

// PutCache implements agent.CloudController.
func (c *cloud) PutCache(ctx context.Context, _ node.ID, r agent.UploadRequest, body io.Reader) (instance.Blob, error) {
	b, err := c.stager.PutCache(ctx, r.Build, r.Token, body)
	return b, wireBlobError(err)
}

// Result implements agent.CloudController.
func (c *cloud) Result(ctx context.Context, _ node.ID, r agent.ResultRequest) error {
	return c.stager.Result(ctx, r.Token, r.Result)
}

// Routes implements agent.CloudController.
func (c *cloud) Routes(ctx context.Context, _ node.ID, send func(*routing.Update) error) error {
	return c.feed.Serve(ctx, send)
}

// restartInstance stops an instance; its node starts it again.
func (c *cloud) restartInstance(ctx context.Context, allocID string) error {
	client, err := c.nomad.get()
	if err != nil {
		return err
	}
	return client.Restart(ctx, allocID)
}

// Allocation implements deploy.Placement; so do the next two for staging.
func (n *nomadClient) Allocation(ctx context.Context, id string) (deploy.Alloc, error) {
	client, err := n.get()
	if err != nil {
		return deploy.Alloc{}, err
	}
	return client.Allocation(ctx, id)
}

// Allocations lists those of a job.
func (n *nomadClient) Allocations(ctx context.Context, job string) ([]deploy.Alloc, error) {
	client, err := n.get()
	if err != nil {
		return nil, err
	}
	return client.Allocations(ctx, job)
}

// Unplaced says why Nomad finds no place for a job.
func (n *nomadClient) Unplaced(ctx context.Context, job string) (*deploy.Unplaced, error) {
	client, err := n.get()
	if err != nil {
		return nil, err
	}
	return client.Unplaced(ctx, job)
}
