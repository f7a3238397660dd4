package fence

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/rpcerr"
)

// blobStore keeps blobs by digest. A file has its name only once its content
// is verified and on disk.
type blobStore struct {
	dir    string
	limit  int64 // bytes of all files; exceeded by what is in use
	flight singleflight.Group
	base   context.Context // of downloads: they outlive who asked first
}

// openBlobs opens the store and removes what an earlier run left unfinished.
func openBlobs(dir string, limit int64) (*blobStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	parts, err := filepath.Glob(filepath.Join(dir, "*"+partSuffix))
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		os.Remove(p)
	}
	return &blobStore{dir: dir, limit: limit, base: context.Background()}, nil
}

const partSuffix = ".part"

// downloadWithin bounds a download.
const downloadWithin = 10 * time.Minute

var digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (s *blobStore) path(digest string) string { return filepath.Join(s.dir, digest) }

// cached opens a blob that is here.
func (s *blobStore) cached(b instance.Blob) (*os.File, bool) {
	if !digestForm.MatchString(b.Digest) {
		return nil, false
	}
	file, err := os.Open(s.path(b.Digest))
	if err != nil {
		return nil, false
	}
	info, err := file.Stat()
	if err != nil || b.Size > 0 && info.Size() != b.Size {
		file.Close()
		return nil, false
	}
	now := time.Now()
	_ = os.Chtimes(file.Name(), now, now) // the least recently used go first
	return file, true
}

// open opens a blob, from disk or by fetch, which is called once for all that
// ask at the same time. The content is verified before anybody sees it.
func (s *blobStore) open(ctx context.Context, b instance.Blob, fetch func(context.Context) (io.ReadCloser, error)) (*os.File, error) {
	if !digestForm.MatchString(b.Digest) {
		return nil, rpcerr.New(rpcerr.Invalid, "%q is not a digest", b.Digest)
	}
	if file, ok := s.cached(b); ok {
		return file, nil
	}
	result := s.flight.DoChan(b.Digest, func() (any, error) {
		if file, ok := s.cached(b); ok { // an earlier call ended in between
			return nil, file.Close()
		}
		ctx, cancel := context.WithTimeout(s.base, downloadWithin)
		defer cancel()
		return nil, s.download(ctx, b, fetch)
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-result:
		if r.Err != nil {
			return nil, r.Err
		}
	}
	if file, ok := s.cached(b); ok {
		return file, nil
	}
	return nil, rpcerr.New(rpcerr.Unavailable, "blob %.12s was removed at once: is the disk full?", b.Digest)
}

func (s *blobStore) download(ctx context.Context, b instance.Blob, fetch func(context.Context) (io.ReadCloser, error)) error {
	body, err := fetch(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	part, err := s.create()
	if err != nil {
		return err
	}
	defer part.discard()
	var from io.Reader = body
	if b.Size > 0 {
		from = io.LimitReader(body, b.Size+1)
	}
	if _, err := io.Copy(part, from); err != nil {
		return rpcerr.New(rpcerr.Unavailable, "blob %.12s: %w", b.Digest, err)
	}
	return part.keep(b)
}

// part is a file that is being written.
type part struct {
	store *blobStore
	file  *os.File
	sum   hash.Hash
	size  int64
}

func (s *blobStore) create() (*part, error) {
	file, err := os.CreateTemp(s.dir, "*"+partSuffix)
	if err != nil {
		return nil, err
	}
	return &part{store: s, file: file, sum: sha256.New()}, nil
}

func (p *part) Write(b []byte) (int, error) {
	n, err := p.file.Write(b)
	p.sum.Write(b[:n])
	p.size += int64(n)
	return n, err
}

// blob names what was written so far.
func (p *part) blob() instance.Blob {
	return instance.Blob{Digest: hex.EncodeToString(p.sum.Sum(nil)), Size: p.size}
}

// keep gives the file its name if it is what was wanted.
func (p *part) keep(want instance.Blob) error {
	got := p.blob()
	if got.Digest != want.Digest || want.Size > 0 && got.Size != want.Size {
		return rpcerr.New(rpcerr.Unavailable, "blob %.12s (%d bytes) arrived as %.12s (%d bytes)", want.Digest, want.Size, got.Digest, got.Size)
	}
	if err := errors.Join(p.file.Chmod(0o600), p.file.Sync(), p.file.Close()); err != nil {
		return err
	}
	if err := os.Rename(p.file.Name(), p.store.path(got.Digest)); err != nil {
		return err
	}
	dir, err := os.Open(p.store.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// discard removes what was not kept.
func (p *part) discard() {
	p.file.Close()
	os.Remove(p.file.Name())
}

// prune removes the least recently used blobs until they fit. Those in use by
// instances stay: one could crash while every controller is away.
func (s *blobStore) prune(used map[string]bool) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	var files []os.FileInfo
	var total int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || strings.HasSuffix(e.Name(), partSuffix) {
			continue
		}
		total += info.Size()
		if !used[e.Name()] {
			files = append(files, info)
		}
	}
	slices.SortFunc(files, func(a, b os.FileInfo) int { return cmp.Compare(a.ModTime().UnixNano(), b.ModTime().UnixNano()) })
	for _, info := range files {
		if total <= s.limit {
			return nil
		}
		if err := os.Remove(s.path(info.Name())); err != nil {
			return fmt.Errorf("prune blobs: %w", err)
		}
		total -= info.Size()
	}
	return nil
}
