package fence

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/stackato/stackato/agent/cluster/seal"
	"github.com/stackato/stackato/internal/atomicfile"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/rpcerr"
)

// specStore keeps specifications sealed on disk, so that a crashed instance
// starts again while every controller is away. A version of a process never
// changes, so what is here is never asked for again.
type specStore struct {
	dir    string
	keys   *seal.Ring
	flight singleflight.Group
	base   context.Context // of fetches: they outlive who asked first
}

// openSpecs opens the store and its key, which it makes the first time. The
// key protects copies of the directory and is worth nothing elsewhere; the
// one who has the disk has both.
func openSpecs(dir, keyFile string) (*specStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	keys, err := seal.LoadFile(keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		keys, err = seal.NewRing(rand.Reader, time.Now())
		if err == nil {
			err = keys.SaveFile(keyFile)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("key of cached specifications: %w", err)
	}
	return &specStore{dir: dir, keys: keys, base: context.Background()}, nil
}

// specKey names one version of a process, or a task.
type specKey struct{ kind, process, version string }

func keyOf(c Container) specKey { return specKey{c.Kind, c.Process, c.Version} }

func (k specKey) String() string { return k.kind + "/" + k.process + "/" + k.version }

// path has no part that a label could choose.
func (s *specStore) path(k specKey) string {
	sum := sha256.Sum256([]byte(k.String()))
	return filepath.Join(s.dir, hex.EncodeToString(sum[:]))
}

// cached returns what is on disk, or nil. A file that cannot be opened any more
// is as good as none.
func (s *specStore) cached(k specKey) *instance.Spec {
	sealed, err := os.ReadFile(s.path(k))
	if err != nil {
		return nil
	}
	plain, err := s.keys.Open(sealed, []byte(k.String()))
	if err != nil {
		return nil
	}
	spec := new(instance.Spec)
	if json.Unmarshal(plain, spec) != nil {
		return nil
	}
	now := time.Now()
	_ = os.Chtimes(s.path(k), now, now) // its age tells what is unused
	return spec
}

// get returns the specification, from disk or by fetch, which is called once
// for all that ask at the same time.
func (s *specStore) get(ctx context.Context, k specKey, fetch func(context.Context) (instance.Spec, error)) (instance.Spec, error) {
	if spec := s.cached(k); spec != nil {
		return *spec, nil
	}
	result := s.flight.DoChan(k.String(), func() (any, error) {
		if spec := s.cached(k); spec != nil { // an earlier call ended in between
			return *spec, nil
		}
		// Not the context of whoever came first: others wait as well.
		ctx, cancel := context.WithTimeout(s.base, fetchWithin)
		defer cancel()
		spec, err := fetch(ctx)
		if err != nil {
			return spec, err
		}
		return spec, s.save(k, spec)
	})
	select {
	case <-ctx.Done():
		return instance.Spec{}, ctx.Err()
	case r := <-result:
		return r.Val.(instance.Spec), r.Err
	}
}

// fetchWithin bounds one question to a controller.
const fetchWithin = 10 * time.Second

func (s *specStore) save(k specKey, spec instance.Spec) error {
	if spec.ProcessGUID != k.process || spec.Version != k.version {
		return rpcerr.New(rpcerr.Internal, "asked for %s, was given %s of version %s", k, spec.ProcessGUID, spec.Version)
	}
	plain, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("specification of %s: %w", k, err)
	}
	return atomicfile.Write(s.path(k), s.keys.Seal(plain, []byte(k.String())), 0o600)
}

// prune forgets what was not used since a time, but for those in use.
func (s *specStore) prune(unusedSince time.Time, used map[specKey]bool) error {
	keep := map[string]bool{}
	for k := range used {
		keep[s.path(k)] = true
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(s.dir, e.Name())
		info, err := e.Info()
		if err != nil || keep[path] || info.ModTime().After(unusedSince) {
			continue
		}
		errs = append(errs, atomicfile.Remove(path))
	}
	return errors.Join(errs...)
}
