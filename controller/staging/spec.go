package staging

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/deploy"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/jobs"
	"github.com/stackato/stackato/wire/rpcerr"
	"github.com/stackato/stackato/wire/staging"
)

// Stager serves builds. It is safe for concurrent use; every controller has
// one.
type Stager struct{ cfg Config }

// New returns a Stager. It does nothing by itself until Run.
func New(cfg Config) *Stager { return &Stager{cfg.withDefaults()} }

// Spec returns what the allocation, which the node says is one of the build's,
// works on, with a new token; an earlier token of the build ends. What is not
// so is refused with rpcerr.Denied, a build that has ended with
// rpcerr.NotFound.
func (s *Stager) Spec(ctx context.Context, node, alloc, build string) (staging.Spec, error) {
	a, err := deploy.CheckPlaced(ctx, s.cfg.Nomad, node, alloc, jobs.StagingID(build))
	if err != nil {
		return staging.Spec{}, err
	}
	if a.Ended() || a.Stopping {
		return staging.Spec{}, rpcerr.New(rpcerr.Denied, "allocation %s has ended", alloc)
	}
	v, err := s.cfg.State(0).Read(ctx)
	if err != nil {
		return staging.Spec{}, rpcerr.New(rpcerr.Unavailable, "%w", err)
	}
	b, ok := v.Build(build)
	if !ok || b.State != cf.BuildStaging {
		return staging.Spec{}, rpcerr.New(rpcerr.NotFound, "build %s is not staging any more", build)
	}
	spec, err := s.compose(v, b)
	if err != nil {
		return staging.Spec{}, s.refuse(ctx, b, err)
	}
	spec.Token = rand.Text()
	if err := s.cfg.State(0).SetBuildToken(ctx, state.BuildToken{GUID: b.GUID, Hash: hashOf(spec.Token)}); err != nil {
		return staging.Spec{}, fromState(err)
	}
	return spec, nil
}

// refuse ends a build that cannot even begin.
func (s *Stager) refuse(ctx context.Context, b cf.Build, why error) error {
	var f *failure
	if !errors.As(why, &f) {
		return why
	}
	if err := s.fail(ctx, s.cfg.State(0), b, *f); err != nil {
		return err
	}
	return rpcerr.New(rpcerr.NotFound, "build %s: %w", b.GUID, why)
}

func (s *Stager) compose(v *state.View, b cf.Build) (staging.Spec, error) {
	o, ok := deploy.OwnerOf(v, b.AppGUID)
	if !ok {
		return staging.Spec{}, rpcerr.New(rpcerr.NotFound, "app %s is gone", b.AppGUID)
	}
	p, ok := v.Package(b.PackageGUID)
	if !ok || p.Blob.Digest == "" {
		return staging.Spec{}, &failure{staging.ErrStaging, "The package is gone. Push the app again."}
	}
	set := s.cfg.settings()
	spec := staging.Spec{
		BuildGUID: b.GUID, AppGUID: o.App.GUID, AppName: o.App.Name, Package: p.Blob, Cache: o.App.BuildCache,
		Stack: b.Stack, MemoryMB: b.MemoryMB, DiskMB: b.DiskMB, Timeout: set.Timeout,
		Certificates: set.Certificates, HTTPProxy: set.HTTPProxy, NoProxy: set.NoProxy,
	}
	var err error
	if spec.Buildpacks, spec.Detect, err = buildpacks(v, b); err != nil {
		return spec, err
	}
	spec.Env, err = s.environment(v, o, b, set)
	return spec, err
}

// environment of a staging container, as Cloud Foundry's.
func (s *Stager) environment(v *state.View, o deploy.Owner, b cf.Build, set Settings) (map[string]string, error) {
	own, err := state.OpenEnv(s.cfg.Sealer, o.App.GUID, o.App.Env)
	if err != nil {
		return nil, fmt.Errorf("environment of app %s: %w", o.App.GUID, err)
	}
	services, err := deploy.Services(s.cfg.Sealer, v.BoundServices(o.App.GUID))
	if err != nil {
		return nil, fmt.Errorf("services of app %s: %w", o.App.GUID, err)
	}
	app := o.Application(v, set.APIURL)
	app.Limits["mem"], app.Limits["disk"] = b.MemoryMB, b.DiskMB
	text, err := json.Marshal(app)
	if err != nil {
		return nil, err
	}
	env := deploy.Environment(v.EnvGroup(cf.EnvStaging), own)
	env["VCAP_APPLICATION"], env["VCAP_SERVICES"] = string(text), string(services)
	env["CF_STACK"], env["MEMORY_LIMIT"] = b.Stack, fmt.Sprintf("%dm", b.MemoryMB)
	return env, nil
}

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// fromState turns an error of the rows into one for nodes.
func fromState(err error) error {
	var e *cf.Error
	switch {
	case errors.Is(err, cf.ErrServiceUnavailable):
		return rpcerr.New(rpcerr.Unavailable, "%w", err)
	case errors.As(err, &e) && e.Status == 404:
		return rpcerr.New(rpcerr.NotFound, "%w", err)
	}
	return err
}
