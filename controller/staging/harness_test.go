package staging_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/deploy/deploytest"
	"github.com/stackato/stackato/controller/staging"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/jobs"
	"github.com/stackato/stackato/wire/instance"
)

// open is a sealer that hides nothing but notes the context.
type open struct{}

func (open) Seal(plain []byte, context string) ([]byte, error) {
	return []byte(context + "\n" + string(plain)), nil
}

func (open) Open(sealed []byte, context string) ([]byte, error) {
	plain, ok := bytes.CutPrefix(sealed, []byte(context+"\n"))
	if !ok {
		return nil, errors.New("sealed for something else")
	}
	return plain, nil
}

// blobs is a store in memory.
type blobs struct {
	mu  sync.Mutex
	all map[string][]byte
}

func (b *blobs) Put(_ context.Context, r io.Reader, limit int64) (instance.Blob, error) {
	content, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil || int64(len(content)) > limit {
		return instance.Blob{}, errors.Join(err, errors.New("too large"))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	sum := sha256.Sum256(content)
	digest := hex.EncodeToString(sum[:])
	b.all[digest] = content
	return instance.Blob{Digest: digest, Size: int64(len(content))}, nil
}

func (b *blobs) Open(_ context.Context, digest string) (io.ReadCloser, int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	content, ok := b.all[digest]
	if !ok {
		return nil, 0, errors.New("no such blob")
	}
	return io.NopCloser(bytes.NewReader(content)), int64(len(content)), nil
}

type world struct {
	*staging.Stager
	t      *testing.T
	store  *state.Store
	nomad  *deploytest.Nomad
	blobs  *blobs
	config staging.Config

	mu   sync.Mutex
	now  time.Time
	said []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, store: state.NewMemory(), nomad: deploytest.New(),
		blobs: &blobs{all: map[string][]byte{}}, now: time.Unix(1e9, 0).UTC(),
	}
	w.config = staging.Config{
		State: func(term uint64) staging.State { return w.store.AsTerm(term) },
		Nomad: w.nomad, Blobs: w.blobs, Sealer: open{},
		Settings: func() staging.Settings {
			return staging.Settings{
				Certificates: "PEM", HTTPProxy: "http://proxy:3128", NoProxy: "internal",
				APIURL: "https://api.example.com", Zones: []string{"silver", "default"},
				Images: map[string][]string{"n1": {"stack:1"}},
			}
		},
		Say: func(_, line string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.said = append(w.said, line)
		},
		Poll: time.Millisecond, Now: w.clock,
	}
	w.Stager = staging.New(w.config)
	org := cf.Organization{Resource: w.resource(), Name: "acme"}
	w.must(w.store.CreateOrganization(t.Context(), org))
	w.must(w.store.CreateSpace(t.Context(), cf.Space{Resource: cf.Resource{GUID: "space"}, Name: "dev", OrgGUID: org.GUID}))
	for i, name := range []string{"staticfile", "nodejs"} {
		w.buildpack(cf.Buildpack{Name: name, Position: i + 1, Enabled: true, BuiltIn: true})
	}
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) later(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) log() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.said, "\n")
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) resource() cf.Resource {
	return cf.Resource{GUID: uuid.NewString(), CreatedAt: w.clock(), UpdatedAt: w.clock()}
}

func (w *world) buildpack(b cf.Buildpack) {
	w.t.Helper()
	b.Resource = w.resource()
	_, err := w.store.CreateBuildpack(w.t.Context(), b)
	w.must(err)
}

// app makes an app with a package and returns its GUID and that of the
// package.
func (w *world) app(name string) (app, pkg string) {
	w.t.Helper()
	ctx := w.t.Context()
	a := cf.App{Resource: w.resource(), Name: name, SpaceGUID: "space", State: cf.AppStopped}
	value := "open sesame"
	env, err := state.SealEnv(open{}, a.GUID, map[string]*string{"SECRET": &value})
	w.must(err)
	a.Env = env
	web := cf.Process{Resource: w.resource(), AppGUID: a.GUID, Type: cf.ProcessWeb}
	w.must(w.store.CreateApp(ctx, state.AppCreation{App: a, Web: web}))
	blob, err := w.blobs.Put(ctx, strings.NewReader("zip of "+name), 100)
	w.must(err)
	p := cf.Package{Resource: w.resource(), AppGUID: a.GUID, Type: "bits", State: cf.PackageReady, Blob: blob}
	w.must(w.store.CreatePackage(ctx, p))
	return a.GUID, p.GUID
}

// build begins a build of a new app; its job is placed on the node.
func (w *world) build(name, node string, buildpacks ...string) (b cf.Build, alloc string) {
	w.t.Helper()
	ctx := w.t.Context()
	_, pkg := w.app(name)
	b = cf.Build{
		Resource: w.resource(), PackageGUID: pkg, State: cf.BuildStaging, Stack: "stackato",
		MemoryMB: 1024, DiskMB: 2048, Buildpacks: buildpacks,
	}
	w.must(w.store.CreateBuild(ctx, b))
	b = w.get(b.GUID)
	w.nomad.Nodes = []string{node}
	_, err := w.nomad.Register(ctx, jobs.Staging(jobs.Build{App: b.AppGUID, GUID: b.GUID}), 0)
	w.must(err)
	if all := w.nomad.All(jobs.StagingID(b.GUID)); len(all) > 0 {
		alloc = all[0].ID
	}
	return b, alloc
}

func (w *world) get(guid string) cf.Build {
	w.t.Helper()
	b, ok := w.store.Local().Build(guid)
	if !ok {
		w.t.Fatalf("build %s is gone", guid)
	}
	return b
}

// run runs the Primary's part until the test ends.
func (w *world) run() {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, 1) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
}

// await waits until the build has ended.
func (w *world) await(guid string) cf.Build {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	for {
		var b cf.Build
		err := w.store.Watch(ctx, func(v *state.View) {
			if b, _ = v.Build(guid); b.State != cf.BuildStaging {
				cancel()
			}
		})
		if b.State != cf.BuildStaging {
			return b
		}
		if err != nil {
			w.t.Fatal(fmt.Errorf("build does not end: %w", err))
		}
	}
}
