package blob

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// DefaultGrace is how long a blob that no row names is kept after it was last
// put: between the upload and the row there is time.
const DefaultGrace = 24 * time.Hour

// Sweep removes from this node the blobs that are not live and were put longer
// than grace ago, and returns how many. live is asked before each removal, so
// it should see the rows as they are then.
func Sweep(ctx context.Context, s Store, live func(digest string) bool, grace time.Duration) (removed int, err error) {
	before := time.Now().Add(-grace)
	var garbage []string
	err = s.List(ctx, func(i Info) bool {
		if i.Put.Before(before) && !live(i.Digest) {
			garbage = append(garbage, i.Digest)
		}
		return true
	})
	for _, digest := range garbage {
		if live(digest) { // put again, and named, meanwhile
			continue
		}
		gone, derr := s.Delete(ctx, digest, before)
		err = errors.Join(err, derr)
		if gone {
			removed++
		}
	}
	return removed, err
}

// Run brings new blobs to the voters that were not waited for. It ends when
// ctx does. Without it, Repair brings them.
func (c *Cluster) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case t := <-c.rest:
			if err := c.deliver(ctx, t); err != nil && ctx.Err() == nil {
				c.cfg.Logger.Debug("a blob could not be copied to a controller; it fetches it later",
					"blob", t.blob.Digest, "controller", t.peer, "error", err)
			}
		}
	}
}

func (c *Cluster) deliver(ctx context.Context, t transfer) error {
	if _, err := c.has(ctx, t.peer, t.blob.Digest); err == nil {
		return nil
	}
	return c.send(ctx, t.peer, t.blob)
}

// Repair fetches the live blobs that this node lacks from the other
// controllers, one after another. It returns how many it fetched and the
// errors of those it could not; a full disk ends it.
func (c *Cluster) Repair(ctx context.Context, live iter.Seq[string]) (fetched int, err error) {
	for digest := range live {
		if ctx.Err() != nil {
			return fetched, errors.Join(err, context.Cause(ctx))
		}
		if _, serr := c.local.Stat(ctx, digest); serr == nil {
			continue
		}
		if rerr := c.local.Room(); rerr != nil {
			return fetched, errors.Join(err, rerr)
		}
		if oerr := c.pull(ctx, digest); oerr != nil {
			err = errors.Join(err, oerr)
			continue
		}
		fetched++
	}
	return fetched, err
}

// pull reads a blob to its end; that keeps it.
func (c *Cluster) pull(ctx context.Context, digest string) error {
	r, _, err := c.Open(ctx, digest)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, copyBuffer))
	return err
}
