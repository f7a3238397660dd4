package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// DefaultReserve is how much of the disk is never filled by blobs, in bytes:
// the node's other files must still find room.
const DefaultReserve = 1 << 30

// DirConfig says where and how a [Dir] keeps its blobs.
type DirConfig struct {
	// Path is the directory. It is made, mode 0700, if it is missing. One
	// process at a time may use it.
	Path string
	// Reserve is how many bytes of the file system stay free. Default
	// DefaultReserve; negative means none.
	Reserve int64
	// Free returns the free bytes of the file system. Default: it is asked.
	Free func() (int64, error)
	// Logger gets a line for each corrupt blob. Default slog.Default.
	Logger *slog.Logger
}

// Dir is a [Store] in a directory:
//
//	blobs/ab/abcd…   one file for each blob, in a folder by its first byte
//	staged/          content that is being written; emptied by OpenDir
//	corrupt/         files that did not match their digest, for 30 days
//
// A file appears under blobs/ by a rename of a whole, synced file: a crash
// leaves nothing half.
type Dir struct {
	cfg DirConfig

	// mu orders what makes a file present against what removes it.
	mu sync.Mutex
	// again is when blobs were put that were there already.
	again map[string]time.Time
	// sound are the blobs whose content this process has hashed.
	sound map[string]struct{}
}

var _ Store = (*Dir)(nil)

// OpenDir makes the directory where needed and removes what an earlier process
// left half done.
func OpenDir(cfg DirConfig) (*Dir, error) {
	if cfg.Reserve == 0 {
		cfg.Reserve = DefaultReserve
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	d := &Dir{cfg: cfg, again: map[string]time.Time{}, sound: map[string]struct{}{}}
	if d.cfg.Free == nil {
		d.cfg.Free = d.statfs
	}
	if err := d.prepare(); err != nil {
		return nil, fmt.Errorf("blob directory %s: %w", cfg.Path, err)
	}
	return d, nil
}

func (d *Dir) prepare() error {
	if err := os.RemoveAll(d.staged()); err != nil {
		return err
	}
	for _, p := range []string{d.cfg.Path, d.staged(), d.corrupt(), d.blobs()} {
		if err := os.MkdirAll(p, 0o700); err != nil {
			return err
		}
	}
	return errors.Join(d.forgetCorrupt(time.Now().Add(-keepCorrupt)), syncDir(d.cfg.Path))
}

// keepCorrupt is how long a person can look at a damaged file.
const keepCorrupt = 30 * 24 * time.Hour

func (d *Dir) forgetCorrupt(before time.Time) error {
	files, err := os.ReadDir(d.corrupt())
	if err != nil {
		return err
	}
	for _, f := range files {
		if fi, err := f.Info(); err == nil && fi.ModTime().Before(before) {
			os.Remove(filepath.Join(d.corrupt(), f.Name()))
		}
	}
	return nil
}

func (d *Dir) blobs() string   { return filepath.Join(d.cfg.Path, "blobs") }
func (d *Dir) staged() string  { return filepath.Join(d.cfg.Path, "staged") }
func (d *Dir) corrupt() string { return filepath.Join(d.cfg.Path, "corrupt") }

func (d *Dir) path(digest string) string { return filepath.Join(d.blobs(), digest[:2], digest) }

func (d *Dir) statfs() (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(d.cfg.Path, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// Room returns ErrFull when only the reserve is left.
func (d *Dir) Room() error {
	if d.cfg.Reserve < 0 {
		return nil
	}
	free, err := d.cfg.Free()
	if err != nil {
		return err
	}
	if free <= d.cfg.Reserve {
		return fmt.Errorf("%w: %d MiB of %s are free, %d MiB are kept free", ErrFull, free>>20, d.cfg.Path, d.cfg.Reserve>>20)
	}
	return nil
}

// Stage implements [Store].
func (d *Dir) Stage(ctx context.Context, limit int64) (*Staged, error) {
	if err := d.Room(); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(d.staged(), "")
	if err != nil {
		return nil, diskError(err)
	}
	return &Staged{ctx: ctx, file: f, sum: sha256.New(), limit: limit, room: d.Room}, nil
}

// Put implements [Store].
func (d *Dir) Put(ctx context.Context, r io.Reader, limit int64) (Blob, error) {
	return put(ctx, d, r, limit)
}

// Receive stores a blob whose name is known, as another controller sends it.
// Content that does not fit is refused with ErrCorrupt.
func (d *Dir) Receive(ctx context.Context, want Blob, r io.Reader) error {
	st, err := d.Stage(ctx, want.Size)
	if err != nil {
		return err
	}
	defer st.Discard()
	if _, err := st.ReadFrom(r); err != nil {
		return err
	}
	if st.Blob() != want {
		return corrupt(want.Digest)
	}
	_, err = d.Commit(ctx, st)
	return err
}

// Commit implements [Store]. A file that is there already is replaced: that
// renews its time, and mends it if it was damaged.
func (d *Dir) Commit(ctx context.Context, s *Staged) (Blob, error) {
	defer s.Discard()
	if err := context.Cause(ctx); err != nil {
		return Blob{}, err
	}
	if s.gone {
		return Blob{}, errors.New("the staged blob was ended before")
	}
	if err := errors.Join(s.file.Sync(), s.file.Close()); err != nil {
		return Blob{}, diskError(err)
	}
	b := s.Blob()
	to := d.path(b.Digest)
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if err := os.Chtimes(s.file.Name(), now, now); err != nil {
		return Blob{}, err
	}
	if err := d.makeFolder(filepath.Dir(to)); err != nil {
		return Blob{}, diskError(err)
	}
	if _, err := os.Lstat(to); err == nil {
		d.again[b.Digest] = now
	}
	if err := os.Rename(s.file.Name(), to); err != nil {
		return Blob{}, diskError(err)
	}
	s.gone = true
	d.sound[b.Digest] = struct{}{}
	return b, syncDir(filepath.Dir(to))
}

// makeFolder makes one of the 256 folders, durably, if it is missing.
func (d *Dir) makeFolder(path string) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(d.blobs())
}

// Stat implements [Store].
func (d *Dir) Stat(_ context.Context, digest string) (Info, error) {
	if !ValidDigest(digest) {
		return Info{}, notFound(digest)
	}
	fi, err := os.Stat(d.path(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return Info{}, notFound(digest)
	}
	if err != nil {
		return Info{}, err
	}
	return Info{Blob: Blob{Digest: digest, Size: fi.Size()}, Put: fi.ModTime()}, nil
}

// Delete implements [Store].
func (d *Dir) Delete(ctx context.Context, digest string, before time.Time) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	info, err := d.Stat(ctx, digest)
	switch {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case !info.Put.Before(before):
		return false, nil
	}
	delete(d.sound, digest)
	// No sync: a file that comes back after a crash is swept again.
	return true, os.Remove(d.path(digest))
}

// putAgain is how long after a repeated Put the row that names the blob may
// still be on its way.
const putAgain = 10 * time.Minute

// errPutAgain: see Drop.
var errPutAgain = errors.New("the blob was put again a short time ago")

// Drop removes a blob at once whose last row is gone, if it is there. It stays
// with an error if it was put again shortly before: the row of that Put may
// come yet. The first Put of a blob is no reason: its row was there.
func (d *Dir) Drop(digest string) error {
	if !ValidDigest(digest) {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for other, at := range d.again {
		if time.Since(at) >= putAgain {
			delete(d.again, other)
		}
	}
	if _, held := d.again[digest]; held {
		return errPutAgain
	}
	delete(d.sound, digest)
	err := os.Remove(d.path(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// List implements [Store].
func (d *Dir) List(ctx context.Context, yield func(Info) bool) error {
	folders, err := os.ReadDir(d.blobs())
	if err != nil {
		return err
	}
	for _, folder := range folders {
		files, err := os.ReadDir(filepath.Join(d.blobs(), folder.Name()))
		if err != nil {
			return err
		}
		for _, f := range files {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			info, err := d.Stat(ctx, f.Name())
			if errors.Is(err, ErrNotFound) {
				continue // removed meanwhile, or not ours
			}
			if err != nil {
				return err
			}
			if !yield(info) {
				return nil
			}
		}
	}
	return nil
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
