package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newDir(t *testing.T, change ...func(*DirConfig)) *Dir {
	t.Helper()
	cfg := DirConfig{Path: t.TempDir(), Reserve: -1, Logger: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&cfg)
	}
	d, err := OpenDir(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func random(n int) []byte {
	out := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(out)
	return out
}

func name(content []byte) Blob {
	sum := sha256.Sum256(content)
	return Blob{Digest: hex.EncodeToString(sum[:]), Size: int64(len(content))}
}

func mustPut(t *testing.T, s Store, content []byte) Blob {
	t.Helper()
	b, err := s.Put(t.Context(), bytes.NewReader(content), Unlimited)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func read(t *testing.T, s Store, digest string) ([]byte, error) {
	t.Helper()
	r, _, err := s.Open(t.Context(), digest)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func staged(t *testing.T, d *Dir) int {
	t.Helper()
	files, err := os.ReadDir(d.staged())
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

func TestPutOpenStatListDelete(t *testing.T) {
	d := newDir(t)
	for _, size := range []int{0, 1, copyBuffer, copyBuffer + 1, 5 << 20} {
		content := random(size)
		b := mustPut(t, d, content)
		if want := name(content); b != want {
			t.Fatalf("%d bytes: got %v, want %v", size, b, want)
		}
		if got, err := read(t, d, b.Digest); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%d bytes: read %d bytes, %v", size, len(got), err)
		}
		info, err := d.Stat(t.Context(), b.Digest)
		if err != nil || info.Blob != b || time.Since(info.Put) > time.Minute {
			t.Fatalf("stat: %v, %v", info, err)
		}
	}
	count := 0
	if err := d.List(t.Context(), func(Info) bool { count++; return true }); err != nil || count != 5 {
		t.Fatalf("listed %d, %v; want 5", count, err)
	}
	b := name(random(1))
	if gone, err := d.Delete(t.Context(), b.Digest, time.Now().Add(time.Hour)); !gone || err != nil {
		t.Fatalf("delete: %v, %v", gone, err)
	}
	if gone, err := d.Delete(t.Context(), b.Digest, time.Now().Add(time.Hour)); gone || err != nil {
		t.Fatalf("second delete: %v, %v", gone, err)
	}
	if _, err := read(t, d, b.Digest); !errors.Is(err, ErrNotFound) {
		t.Fatalf("open after delete: %v", err)
	}
	if n := staged(t, d); n != 0 {
		t.Fatalf("%d staged files are left", n)
	}
}

func TestDigestsAreNoPaths(t *testing.T) {
	d := newDir(t)
	for _, digest := range []string{"", "..", "../../etc/passwd", string(make([]byte, 64)), "AB" + name(nil).Digest[2:]} {
		if _, err := d.Stat(t.Context(), digest); !errors.Is(err, ErrNotFound) {
			t.Errorf("stat %q: %v", digest, err)
		}
		if _, _, err := d.Open(t.Context(), digest); !errors.Is(err, ErrNotFound) {
			t.Errorf("open %q: %v", digest, err)
		}
		if gone, err := d.Delete(t.Context(), digest, time.Now()); gone || err != nil {
			t.Errorf("delete %q: %v %v", digest, gone, err)
		}
	}
}

func TestRefusedPutsLeaveNothing(t *testing.T) {
	broken := errors.New("the line is broken")
	tests := []struct {
		name string
		cfg  func(*DirConfig)
		put  func(ctx context.Context, d *Dir) error
		want error
	}{
		{"too large", nil, func(ctx context.Context, d *Dir) error {
			_, err := d.Put(ctx, bytes.NewReader(random(11)), 10)
			return err
		}, ErrTooLarge},
		{"reader fails", nil, func(ctx context.Context, d *Dir) error {
			_, err := d.Put(ctx, io.MultiReader(bytes.NewReader(random(1<<20)), failing{broken}), Unlimited)
			return err
		}, broken},
		{"cancelled", nil, func(ctx context.Context, d *Dir) error {
			ctx, cancel := context.WithCancel(ctx)
			_, err := d.Put(ctx, io.MultiReader(bytes.NewReader(random(1<<20)), calling{cancel}, bytes.NewReader(random(1))), Unlimited)
			return err
		}, context.Canceled},
		{
			"full at the start", func(c *DirConfig) { c.Reserve, c.Free = 100, func() (int64, error) { return 100, nil } },
			func(ctx context.Context, d *Dir) error {
				_, err := d.Put(ctx, bytes.NewReader(nil), Unlimited)
				return err
			}, ErrFull,
		},
		{"wrong digest from a peer", nil, func(ctx context.Context, d *Dir) error {
			return d.Receive(ctx, Blob{Digest: name(nil).Digest, Size: 3}, bytes.NewReader(random(3)))
		}, ErrCorrupt},
		{"too long from a peer", nil, func(ctx context.Context, d *Dir) error {
			return d.Receive(ctx, name(random(3)), bytes.NewReader(random(4)))
		}, ErrTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.cfg == nil {
				tt.cfg = func(*DirConfig) {}
			}
			d := newDir(t, tt.cfg)
			if err := tt.put(t.Context(), d); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			assertEmpty(t, d)
		})
	}
}

func assertEmpty(t *testing.T, d *Dir) {
	t.Helper()
	if err := d.List(t.Context(), func(i Info) bool { t.Errorf("%v is left", i.Blob); return true }); err != nil {
		t.Error(err)
	}
	if n := staged(t, d); n != 0 {
		t.Errorf("%d staged files are left", n)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type calling struct{ f func() }

func (c calling) Read([]byte) (int, error) {
	c.f()
	return 0, io.EOF
}

// TestDiskFillsWhileWriting: the free space is watched on the way, and what
// was written is given back.
func TestDiskFillsWhileWriting(t *testing.T) {
	var asked atomic.Int64
	d := newDir(t, func(c *DirConfig) {
		c.Reserve = 1
		c.Free = func() (int64, error) { return 3 - asked.Add(1), nil }
	})
	_, err := d.Put(t.Context(), bytes.NewReader(random(20<<20)), Unlimited)
	if !errors.Is(err, ErrFull) {
		t.Fatalf("got %v, want ErrFull", err)
	}
	if asked.Load() < 2 {
		t.Fatalf("the space was looked at %d times", asked.Load())
	}
	assertEmpty(t, d)
}

func TestNoSpaceIsErrFull(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		if err := diskError(&os.PathError{Op: "write", Err: errno}); !errors.Is(err, ErrFull) {
			t.Errorf("%v is not ErrFull: %v", errno, err)
		}
	}
	if err := diskError(syscall.EIO); errors.Is(err, ErrFull) {
		t.Error("EIO is no full disk")
	}
}

// TestOpenDirForgetsHalfWritten: what a crash left is gone, blobs are not.
func TestOpenDirForgetsHalfWritten(t *testing.T) {
	d := newDir(t)
	b := mustPut(t, d, random(10))
	st, err := d.Stage(t.Context(), Unlimited)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Write(random(100)); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(d.corrupt(), "old")
	if err := os.WriteFile(old, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * keepCorrupt)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	again, err := OpenDir(d.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if n := staged(t, again); n != 0 {
		t.Errorf("%d staged files survive", n)
	}
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an old damaged file survives: %v", err)
	}
	if got, err := read(t, again, b.Digest); err != nil || !bytes.Equal(got, random(10)) {
		t.Errorf("the blob: %v", err)
	}
}

func damage(t *testing.T, d *Dir, digest string) {
	t.Helper()
	f, err := os.OpenFile(d.path(digest), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0xff, 0xfe}, 5); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedBlobIsFoundByReading(t *testing.T) {
	d := newDir(t)
	b := mustPut(t, d, random(1<<20))
	damage(t, d, b.Digest)
	if _, err := read(t, d, b.Digest); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("got %v, want ErrCorrupt", err)
	}
	if _, err := d.Stat(t.Context(), b.Digest); !errors.Is(err, ErrNotFound) {
		t.Fatalf("a damaged blob is still offered: %v", err)
	}
	mustPut(t, d, random(1<<20))
	if _, err := read(t, d, b.Digest); err != nil {
		t.Fatalf("after it was put again: %v", err)
	}
}

func TestPutMendsDamage(t *testing.T) {
	d := newDir(t)
	b := mustPut(t, d, random(1<<20))
	damage(t, d, b.Digest)
	mustPut(t, d, random(1<<20))
	if _, err := read(t, d, b.Digest); err != nil {
		t.Fatal(err)
	}
}

func TestScrub(t *testing.T) {
	d := newDir(t)
	good, bad := mustPut(t, d, random(1<<20)), mustPut(t, d, random(2<<20))
	damage(t, d, bad.Digest)
	n, err := d.Scrub(t.Context(), 1<<30)
	if n != 1 || err != nil {
		t.Fatalf("found %d, %v; want 1", n, err)
	}
	if _, err := d.Stat(t.Context(), good.Digest); err != nil {
		t.Error(err)
	}
	if _, err := d.Stat(t.Context(), bad.Digest); !errors.Is(err, ErrNotFound) {
		t.Errorf("the damaged one: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Scrub(ctx, 1<<30); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestSweepKeepsLiveAndYoung(t *testing.T) {
	d := newDir(t)
	live, old, young, again := mustPut(t, d, random(1)), mustPut(t, d, random(2)), mustPut(t, d, random(3)), mustPut(t, d, random(4))
	long := time.Now().Add(-48 * time.Hour)
	for _, b := range []Blob{live, old, again} {
		if err := os.Chtimes(d.path(b.Digest), long, long); err != nil {
			t.Fatal(err)
		}
	}
	mustPut(t, d, random(4)) // renews its time
	removed, err := Sweep(t.Context(), d, func(digest string) bool { return digest == live.Digest }, DefaultGrace)
	if err != nil || removed != 1 {
		t.Fatalf("removed %d, %v; want 1", removed, err)
	}
	got := map[string]bool{}
	if err := d.List(t.Context(), func(i Info) bool { got[i.Digest] = true; return true }); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{live.Digest: true, young.Digest: true, again.Digest: true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestMemoryStaysSmall: a large blob is streamed. A buffer of its size would
// show in what was allocated.
func TestMemoryStaysSmall(t *testing.T) {
	d := newDir(t)
	const size = 64 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	blob, err := d.Put(t.Context(), io.LimitReader(zeros{}, size), Unlimited)
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := d.Open(t.Context(), blob.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := io.Copy(io.Discard, r); n != size || err != nil {
		t.Fatal(n, err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 8<<20 {
		t.Errorf("%d bytes are allocated for a blob of %d", got, size)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
