package staging

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/jobs"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/rpcerr"
	"github.com/stackato/stackato/wire/staging"
)

// failure is an error of the developer's or of the build: it is its result.
type failure struct{ code, detail string }

// Error is what the API shows.
func (f *failure) Error() string { return f.code + " - " + f.detail }

// errToken does not say what is wrong with a token.
func errToken() error {
	return rpcerr.New(rpcerr.Denied, "the token is not one of a build that is staging")
}

// owner returns the build that a token was given to.
func (s *Stager) owner(ctx context.Context, token string) (*state.View, cf.Build, error) {
	v, err := s.cfg.State(0).Read(ctx)
	if err != nil {
		return nil, cf.Build{}, rpcerr.New(rpcerr.Unavailable, "%w", err)
	}
	hash := hashOf(token)
	for _, b := range v.BuildsInState(cf.BuildStaging) {
		if b.TokenHash != "" && subtle.ConstantTimeCompare([]byte(b.TokenHash), []byte(hash)) == 1 {
			return v, b, nil
		}
	}
	return nil, cf.Build{}, errToken()
}

// Blob opens a blob of the build that the token was given to and returns its
// size, -1 if that is not known yet. The build must run on the node.
func (s *Stager) Blob(ctx context.Context, node, token, digest string) (io.ReadCloser, int64, error) {
	v, b, err := s.owner(ctx, token)
	if err != nil {
		return nil, 0, err
	}
	all, err := s.cfg.Nomad.Allocations(ctx, jobs.StagingID(b.GUID))
	if err != nil {
		return nil, 0, rpcerr.New(rpcerr.Unavailable, "the scheduler does not answer: %w", err)
	}
	here := false
	for _, a := range all {
		here = here || a.Node == node && !a.Ended()
	}
	if !here {
		return nil, 0, rpcerr.New(rpcerr.Denied, "build %s does not run on node %s", b.GUID, node)
	}
	spec, err := s.compose(v, b)
	if err != nil {
		return nil, 0, err
	}
	if !needs(spec, digest) {
		return nil, 0, rpcerr.New(rpcerr.Denied, "blob %.12s… is not of build %s", digest, b.GUID)
	}
	return s.cfg.Blobs.Open(ctx, digest)
}

// needs reports whether a blob is one of the build's.
func needs(spec staging.Spec, digest string) bool {
	if digest == "" {
		return false
	}
	for _, bp := range spec.Buildpacks {
		if bp.Blob.Digest == digest {
			return true
		}
	}
	return spec.Package.Digest == digest || spec.Cache.Digest == digest
}

// PutDroplet stores the build's droplet, a tar.gz, and returns its name. It is
// the app's only with the result.
func (s *Stager) PutDroplet(ctx context.Context, build, token string, r io.Reader) (instance.Blob, error) {
	return s.put(ctx, build, token, r)
}

// PutCache stores what the build leaves for the next one, a tar.gz.
func (s *Stager) PutCache(ctx context.Context, build, token string, r io.Reader) (instance.Blob, error) {
	return s.put(ctx, build, token, r)
}

func (s *Stager) put(ctx context.Context, build, token string, r io.Reader) (instance.Blob, error) {
	_, b, err := s.owner(ctx, token)
	if err != nil {
		return instance.Blob{}, err
	}
	if b.GUID != build {
		return instance.Blob{}, errToken()
	}
	stored, err := s.cfg.Blobs.Put(ctx, r, s.cfg.DropletBytes)
	if err != nil {
		return instance.Blob{}, err
	}
	// Only what is noted here can be the build's result: else whoever knows a
	// blob's digest could make it the droplet of an app of his own.
	err = s.cfg.State(0).AddBuildUpload(ctx, state.BuildUpload{GUID: b.GUID, Hash: b.TokenHash, Blob: stored})
	return stored, fromState(err)
}

// Result ends the build that the token was given to. Reporting the same result
// again is no error.
func (s *Stager) Result(ctx context.Context, token string, r staging.Result) error {
	r = plain(r)
	_, b, err := s.owner(ctx, token)
	if err != nil {
		if s.reported(ctx, r) {
			return nil
		}
		return err
	}
	if b.GUID != r.BuildGUID {
		return errToken()
	}
	if r.Error != "" {
		return s.fail(ctx, s.cfg.State(0), b, failure{r.Error, r.Detail})
	}
	if r.Droplet.Digest == "" {
		return rpcerr.New(rpcerr.Invalid, "the result of build %s has neither a droplet nor an error", b.GUID)
	}
	for _, made := range []instance.Blob{r.Droplet, r.Cache} {
		if made.Digest != "" && !slices.Contains(b.Uploaded, made) {
			return rpcerr.New(rpcerr.Denied, "blob %.12s… was not stored by build %s", made.Digest, b.GUID)
		}
	}
	if why := unsound(r); why != "" {
		return s.fail(ctx, s.cfg.State(0), b, failure{staging.ErrReleaseFailed, "What the build says of its processes is not valid: " + why + "."})
	}
	now := s.cfg.Now()
	d := &cf.Droplet{
		Resource: cf.Resource{GUID: s.cfg.GUID(), CreatedAt: now, UpdatedAt: now},
		Blob:     r.Droplet, Stack: b.Stack, ProcessTypes: r.ProcessTypes, Sidecars: r.Sidecars,
	}
	for _, bp := range r.Buildpacks {
		d.Buildpacks = append(d.Buildpacks, cf.DropletBuildpack{Name: bp.Name, DetectOutput: bp.DetectOutput, Version: bp.Version})
	}
	_, err = s.cfg.State(0).FinishBuild(ctx, state.BuildFinish{GUID: b.GUID, Droplet: d, Cache: r.Cache, At: now})
	if ended(err) {
		return nil // an earlier report of ours, or it took too long
	}
	return fromState(err)
}

// reported says whether a build has ended as the result says: the answer to
// the report was lost. That tells no secret: it takes the droplet's digest.
func (s *Stager) reported(ctx context.Context, r staging.Result) bool {
	v, err := s.cfg.State(0).Read(ctx)
	if err != nil {
		return false
	}
	b, ok := v.Build(r.BuildGUID)
	if !ok {
		return false
	}
	if r.Error != "" {
		return b.State == cf.BuildFailed && b.Error == (&failure{r.Error, r.Detail}).Error()
	}
	d, ok := v.Droplet(b.DropletGUID)
	return ok && b.State == cf.BuildStaged && d.Blob == r.Droplet
}

// Cancel ends a build that is staging. One that has ended is left as it is.
func (s *Stager) Cancel(ctx context.Context, build, why string) error {
	v, err := s.cfg.State(0).Read(ctx)
	if err != nil {
		return err
	}
	b, ok := v.Build(build)
	if !ok || b.State != cf.BuildStaging {
		return nil
	}
	return s.fail(ctx, s.cfg.State(0), b, failure{staging.ErrStaging, why})
}

// fail ends a build with an error and says so in the app's log. A build that
// has ended meanwhile stays as it is.
func (s *Stager) fail(ctx context.Context, st State, b cf.Build, f failure) error {
	if f.detail == "" {
		f.detail = "Staging failed; the log says more (cf logs --recent)."
	}
	_, err := st.FinishBuild(ctx, state.BuildFinish{GUID: b.GUID, Error: f.Error(), At: s.cfg.Now()})
	if ended(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("end build %s: %w", b.GUID, fromState(err))
	}
	s.cfg.Say(b.AppGUID, "Staging failed: "+f.detail)
	return nil
}

// ended reports whether the rows refused a second end of a build, or it is
// gone with its app.
func ended(err error) bool {
	return errors.Is(err, cf.ErrUnprocessable) || errors.Is(err, cf.ErrNotFound)
}
