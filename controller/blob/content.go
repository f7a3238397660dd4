package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/time/rate"
)

// content is an open blob of a [Dir]. Read from beginning to end it checks the
// digest on the way; after a Seek it cannot.
type content struct {
	*os.File
	dir    *Dir
	digest string
	sum    hash.Hash // nil once the reading is not in order
	// trusted: the content was checked before
	trusted bool
}

// Open implements [Store]. It always checks the digest. The reader is an [io.Seeker] and [io.ReaderAt].
func (d *Dir) Open(_ context.Context, digest string) (io.ReadCloser, int64, error) {
	c, size, err := d.open(digest)
	if err != nil {
		return nil, 0, err
	}
	return c, size, nil
}

// openSound is Open without the check if this process has checked the content
// before: hashing costs more than reading.
func (d *Dir) openSound(digest string) (io.ReadCloser, int64, error) {
	c, size, err := d.open(digest)
	if err != nil {
		return nil, 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.sound[digest]; ok {
		c.sum, c.trusted = nil, true
	}
	return c, size, nil
}

func (d *Dir) open(digest string) (*content, int64, error) {
	if !ValidDigest(digest) {
		return nil, 0, notFound(digest)
	}
	f, err := os.Open(d.path(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, notFound(digest)
	}
	if err != nil {
		return nil, 0, err
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return &content{File: f, dir: d, digest: digest, sum: sha256.New()}, fi.Size(), nil
}

func (c *content) Read(p []byte) (int, error) {
	n, err := c.File.Read(p)
	if c.sum == nil {
		return n, err
	}
	c.sum.Write(p[:n])
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	if hex.EncodeToString(c.sum.Sum(nil)) != c.digest {
		c.dir.setAside(c)
		return n, corrupt(c.digest)
	}
	c.dir.mu.Lock()
	defer c.dir.mu.Unlock()
	c.dir.sound[c.digest] = struct{}{}
	return n, err
}

func (c *content) Seek(offset int64, whence int) (int64, error) {
	at, err := c.File.Seek(offset, whence)
	c.sum = nil
	if err == nil && at == 0 && !c.trusted {
		c.sum = sha256.New()
	}
	return at, err
}

// WriteTo hides the file's own, which would leave out the check.
func (c *content) WriteTo(w io.Writer) (int64, error) {
	return io.CopyBuffer(w, struct{ io.Reader }{c}, make([]byte, copyBuffer))
}

// setAside takes a damaged file out of the way, so that the blob counts as
// missing and is repaired. A file that was replaced meanwhile stays.
func (d *Dir) setAside(c *content) {
	d.mu.Lock()
	defer d.mu.Unlock()
	mine, err := c.File.Stat()
	if err != nil {
		return
	}
	there, err := os.Stat(d.path(c.digest))
	if err != nil || !os.SameFile(mine, there) {
		return
	}
	delete(d.sound, c.digest)
	err = os.Rename(d.path(c.digest), filepath.Join(d.corrupt(), c.digest))
	d.cfg.Logger.Error("a blob on disk is damaged and was set aside; it is fetched from another controller",
		"blob", c.digest, "directory", d.corrupt(), "error", err)
}

// Scrub reads every blob once, at most bytesPerSecond, and sets aside those
// that do not match their digest. It returns how many there were. Blobs that
// cannot be read count too.
func (d *Dir) Scrub(ctx context.Context, bytesPerSecond int) (damaged int, err error) {
	limit := rate.NewLimiter(rate.Limit(bytesPerSecond), copyBuffer)
	err = d.List(ctx, func(i Info) bool {
		if e := d.scrub(ctx, i.Digest, limit); e != nil && ctx.Err() == nil && !errors.Is(e, ErrNotFound) {
			damaged++
		}
		return ctx.Err() == nil
	})
	return damaged, errors.Join(err, context.Cause(ctx))
}

func (d *Dir) scrub(ctx context.Context, digest string, limit *rate.Limiter) error {
	c, _, err := d.open(digest)
	if err != nil {
		return err
	}
	defer c.Close()
	buf := make([]byte, copyBuffer)
	for {
		n, err := c.Read(buf)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			d.setAside(c)
			return err
		}
		if err := limit.WaitN(ctx, n); err != nil {
			return err
		}
	}
}
