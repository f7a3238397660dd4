package fence

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/rpcerr"
	"github.com/stackato/stackato/wire/staging"
)

// maxResult bounds the report of a build, in bytes.
const maxResult = 1 << 20

// build is one that runs here.
type build struct {
	container Container
	spec      staging.Spec
	failing   bool // fence is stopping it
}

// persist calls do until it succeeds or fails for good. While nobody answers
// it says so once in the app's log.
func (f *Fence) persist(ctx context.Context, c Container, waiting string, do func() error) error {
	for pause, said := f.pauses(), false; ; {
		err := do()
		switch code := rpcerr.Of(err); {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case code != rpcerr.Unavailable && code != rpcerr.Deadline && !rpcerr.Retryable(err):
			return err
		}
		if !said {
			said = true
			f.cell(c, "Cell %s: %s", f.cfg.Node, waiting)
			f.cfg.Logger.Warn(waiting, "alloc", c.AllocID, "error", err)
		}
		if err := pause.wait(ctx); err != nil {
			return err
		}
	}
}

// build returns what a staging container works on. It is kept in memory for as
// long as the container runs: its token must not lie on a disk.
func (f *Fence) build(ctx context.Context, c Container) (staging.Spec, error) {
	f.mu.Lock()
	known, ok := f.builds[c.ID]
	f.mu.Unlock()
	if ok {
		return known.spec, nil
	}
	var spec staging.Spec
	err := f.persist(ctx, c, "no controller answers; waiting for what to stage", func() (err error) {
		ctx, cancel := context.WithTimeout(ctx, fetchWithin)
		defer cancel()
		spec, err = f.cfg.Controllers.Build(ctx, c.AllocID, c.Process)
		return err
	})
	if err != nil {
		return staging.Spec{}, err
	}
	if spec.BuildGUID != c.Process {
		return staging.Spec{}, rpcerr.New(rpcerr.Internal, "asked for build %s, was given %s", c.Process, spec.BuildGUID)
	}
	f.mu.Lock()
	f.builds[c.ID] = build{container: c, spec: spec}
	f.mu.Unlock()
	return spec, nil
}

func (f *Fence) getBuild(w http.ResponseWriter, r *http.Request, c Container) error {
	spec, err := f.build(r.Context(), c)
	if err != nil {
		return err
	}
	return answer(w, spec)
}

// getBlob streams a blob of the caller's own build. Buildpacks are kept: many
// builds want them. Packages and build caches pass through, once as they are.
func (f *Fence) getBlob(w http.ResponseWriter, r *http.Request, c Container) error {
	ctx := r.Context()
	spec, err := f.build(ctx, c)
	if err != nil {
		return err
	}
	blob, kept, ok := blobOf(spec, r.PathValue("digest"))
	if !ok {
		return rpcerr.New(rpcerr.Denied, "blob %.64s is not of build %s", r.PathValue("digest"), spec.BuildGUID)
	}
	fetch := func(ctx context.Context) (io.ReadCloser, error) {
		body, size, err := f.cfg.Controllers.Blob(ctx, blob.Digest, spec.Token)
		if err == nil && blob.Size <= 0 {
			blob.Size = size
		}
		return body, err
	}
	var body io.ReadCloser
	err = f.persist(ctx, c, "a blob cannot be had; trying on", func() (err error) {
		if kept {
			body, err = f.blobs.open(ctx, blob, fetch)
		} else {
			body, err = fetch(ctx)
		}
		return err
	})
	if err != nil {
		return err
	}
	defer body.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	if blob.Size > 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(blob.Size, 10))
	}
	return pass(w, body, blob)
}

// blobOf finds a blob among those of a build and says whether it is worth
// keeping.
func blobOf(spec staging.Spec, digest string) (b instance.Blob, kept, ok bool) {
	if !digestForm.MatchString(digest) {
		return instance.Blob{}, false, false
	}
	for _, b := range []instance.Blob{spec.Package, spec.Cache} {
		if b.Digest == digest {
			return b, false, true
		}
	}
	for _, p := range spec.Buildpacks {
		if p.Blob.Digest == digest {
			return p.Blob, true, true
		}
	}
	return instance.Blob{}, false, false
}

// pass copies a blob and holds its last byte back until the digest is right,
// so that nobody takes a wrong one for whole.
func pass(w io.Writer, body io.Reader, want instance.Blob) error {
	check := newVerifier(w)
	if _, err := io.Copy(check, body); err != nil {
		return errBegun
	}
	if err := check.finish(want); err != nil {
		return errBegun
	}
	return nil
}

func (f *Fence) putDroplet(w http.ResponseWriter, r *http.Request, c Container) error {
	return f.upload(w, r, c, true, f.cfg.Controllers.PutDroplet)
}

func (f *Fence) putCache(w http.ResponseWriter, r *http.Request, c Container) error {
	return f.upload(w, r, c, false, f.cfg.Controllers.PutCache)
}

// upload passes what a build made to a controller. A droplet is kept on the
// way, because it is likely to run here next.
func (f *Fence) upload(w http.ResponseWriter, r *http.Request, c Container, keep bool,
	put func(context.Context, string, string, io.Reader) (instance.Blob, error),
) error {
	ctx, cancel := context.WithTimeout(r.Context(), downloadWithin)
	defer cancel()
	spec, err := f.build(ctx, c)
	if err != nil {
		return err
	}
	var body io.Reader = http.MaxBytesReader(w, r.Body, f.cfg.UploadBytes)
	var copied *part
	if keep {
		if copied, err = f.blobs.create(); err != nil {
			f.cfg.Logger.Warn("a droplet is not kept on this node", "error", err)
		} else {
			defer copied.discard()
			body = io.TeeReader(body, optional{copied})
		}
	}
	blob, err := put(ctx, spec.BuildGUID, spec.Token, body)
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return rpcerr.New(rpcerr.Invalid, "larger than the %d MB that a droplet or build cache may have", tooLarge.Limit>>20)
	}
	if err != nil {
		return err
	}
	if copied != nil {
		if err := copied.keep(blob); err != nil {
			f.cfg.Logger.Warn("a droplet is not kept on this node", "error", err)
		}
	}
	return answer(w, blob)
}

// optional is a copy that may fail without harm to the original; its digest
// is then wrong.
type optional struct{ w io.Writer }

func (o optional) Write(b []byte) (int, error) {
	_, _ = o.w.Write(b)
	return len(b), nil
}

func (f *Fence) postResult(w http.ResponseWriter, r *http.Request, c Container) error {
	ctx := r.Context()
	spec, err := f.build(ctx, c)
	if err != nil {
		return err
	}
	var result staging.Result
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxResult)).Decode(&result); err != nil {
		return rpcerr.New(rpcerr.Invalid, "result of a build: %w", err)
	}
	if result.BuildGUID != spec.BuildGUID {
		return rpcerr.New(rpcerr.Denied, "build %s cannot report for %s", spec.BuildGUID, result.BuildGUID)
	}
	err = f.persist(ctx, c, "no controller answers; waiting to report", func() error {
		ctx, cancel := context.WithTimeout(ctx, fetchWithin)
		defer cancel()
		return f.cfg.Controllers.Result(ctx, spec.Token, result)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// failBuild ends a build for a reason, once: it says so in the log, reports it
// and stops the container.
func (f *Fence) failBuild(c Container, reason string) {
	f.mu.Lock()
	b, ok := f.builds[c.ID]
	known := !ok || b.failing
	b.failing = true
	if ok {
		f.builds[c.ID] = b
	}
	f.mu.Unlock()
	if known {
		return
	}
	f.cfg.Log(c.AppGUID, "STG", "0", "Staging was stopped, "+reason)
	result := staging.Result{BuildGUID: b.spec.BuildGUID, Error: staging.ErrStaging, Detail: "Staging was stopped, " + reason}
	f.spawn(f.stopBound()+2*fetchWithin, func(ctx context.Context) {
		report, cancel := context.WithTimeout(ctx, fetchWithin)
		defer cancel()
		if err := f.cfg.Controllers.Result(report, b.spec.Token, result); err != nil && ctx.Err() == nil {
			f.cfg.Logger.Warn("reporting why a build was stopped", "build", b.spec.BuildGUID, "error", err)
		}
		f.killContainer(ctx, c) // nobody waits for what it makes
	})
}
