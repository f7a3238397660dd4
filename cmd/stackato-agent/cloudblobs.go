package main

import (
	"context"
	"errors"
	"io"

	"github.com/stackato/stackato/agent"
	"github.com/stackato/stackato/controller/blob"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/rpcerr"
)

// keepBlobs removes from this controller what no row names any more, fetches
// what it lacks and reads everything now and then, until ctx is done.
func (c *cloud) keepBlobs(ctx context.Context) error {
	return c.blobs.Keep(ctx, blob.KeepConfig{Live: c.liveBlobs})
}

// liveBlobs is what rows name, fresh.
func (c *cloud) liveBlobs(ctx context.Context) (map[string]instance.Blob, error) {
	v, err := c.store.Read(ctx)
	if err != nil {
		return nil, err
	}
	out := v.AppBlobs()
	for _, b := range v.Buildpacks() {
		if b.Bits.Digest != "" {
			out[b.Bits.Digest] = b.Bits
		}
	}
	return out, nil
}

// HeldBlob implements agent.CloudController.
func (c *cloud) HeldBlob(ctx context.Context, digest string) (io.ReadCloser, int64, error) {
	r, size, err := c.blobs.Local().Open(ctx, digest)
	return r, size, wireBlobError(err)
}

// HoldBlob implements agent.CloudController.
func (c *cloud) HoldBlob(ctx context.Context, b instance.Blob, body io.Reader) error {
	return wireBlobError(c.blobs.Local().Receive(ctx, b, body))
}

// HasBlob implements agent.CloudController.
func (c *cloud) HasBlob(ctx context.Context, digest string) (agent.BlobInfo, error) {
	info, err := c.blobs.Local().Stat(ctx, digest)
	return agent.BlobInfo{Size: info.Size, Put: info.Put}, wireBlobError(err)
}

// wireBlobError gives the store's errors codes that cross the wire.
func wireBlobError(err error) error {
	switch {
	case errors.Is(err, blob.ErrNotFound):
		return rpcerr.New(rpcerr.NotFound, "%w", err)
	case errors.Is(err, blob.ErrFull):
		return rpcerr.New(rpcerr.Exhausted, "%w", err).WithRetryable(false)
	case errors.Is(err, blob.ErrTooLarge), errors.Is(err, blob.ErrCorrupt):
		return rpcerr.New(rpcerr.Invalid, "%w", err)
	case errors.Is(err, blob.ErrQuorum):
		return rpcerr.New(rpcerr.Unavailable, "%w", err)
	}
	return err
}
