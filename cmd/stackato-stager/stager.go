package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/staging"
)

// defaultTimeout bounds a build whose spec does not; it is Cloud Foundry's.
const defaultTimeout = 15 * time.Minute

// reportTimeout bounds telling a controller how the build ended. It is beside
// the build's own timeout, which may have passed.
const reportTimeout = 2 * time.Minute

// errCancelled: somebody told the stager to end.
var errCancelled = errors.New("staging was cancelled")

// stager carries one build's files between fence and whatever stages them.
type stager struct {
	fence *client
	spool string // for files without a name, that only this process opens
	trust string // becomes the file of trusted authorities
	// system is the image's own file of them, taken where fence has none.
	system     string
	java       string // Java's own file of them
	home, temp string
	log        io.Writer
	// build stages and returns what it found out. It writes into f.
	build func(ctx context.Context, r request, f *files) (outcome, error)
	// kills returns how many processes the memory limit has ended so far.
	kills func() int64
}

// files of one build. All are open for reading and writing, none has a name.
type files struct {
	pkg, cache, droplet, cacheOut *os.File
	buildpacks                    []*os.File // nil where none is fetched
}

func (f *files) close() {
	for _, one := range append([]*os.File{f.pkg, f.cache, f.droplet, f.cacheOut}, f.buildpacks...) {
		if one != nil {
			one.Close()
		}
	}
}

// run stages the build of this container. nil means that a controller knows
// how it ended.
func (s *stager) run(parent context.Context) error {
	defer s.fence.close()
	spec, err := s.fence.spec(parent)
	if err != nil {
		return s.cancelled(parent, fmt.Errorf("the build's specification could not be fetched: %w", err))
	}
	limit := spec.Timeout
	if limit <= 0 {
		limit = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(parent, limit)
	defer cancel()
	result, err := s.stage(ctx, spec)
	if parent.Err() != nil {
		return errCancelled
	}
	if err != nil {
		result = s.failed(ctx, spec, limit, err)
	}
	result.BuildGUID = spec.BuildGUID
	if result.Error == "" {
		s.say("Staging complete")
	} // else the controller says why, for builds whose stager cannot as well
	ctx, done := context.WithTimeout(parent, reportTimeout)
	defer done()
	if err := s.fence.result(ctx, result); err != nil {
		return s.cancelled(parent, fmt.Errorf("no controller could be told how the build ended (%s): %w", cmp.Or(result.Detail, "well"), err))
	}
	return nil
}

func (s *stager) cancelled(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errCancelled
	}
	return err
}

// stage returns a result, whether good or bad, or an error for failed.
func (s *stager) stage(ctx context.Context, spec staging.Spec) (staging.Result, error) {
	trust, err := s.writeTrust(ctx, spec.Certificates)
	if err != nil {
		return staging.Result{}, err
	}
	f, err := s.fetch(ctx, spec)
	defer f.close()
	if err != nil {
		return staging.Result{}, err
	}
	before := s.kills()
	out, err := s.build(ctx, request{Spec: withoutToken(spec), Home: s.home, Temp: s.temp, Certificates: trust}, f)
	if err == nil && out.Result.Error == "" {
		return s.upload(ctx, out.Result, f)
	}
	if ctx.Err() == nil && s.kills() > before {
		return failed(staging.ErrOutOfMemory, fmt.Sprintf(
			"Staging used more memory than its limit of %d MB; raise the memory of the app", spec.MemoryMB)), nil
	}
	return out.Result, err
}

func withoutToken(spec staging.Spec) staging.Spec {
	spec.Token = ""
	return spec
}

func failed(code, detail string) staging.Result { return staging.Result{Error: code, Detail: detail} }

// failed says in a result why a build broke off.
func (s *stager) failed(ctx context.Context, spec staging.Spec, limit time.Duration, err error) staging.Result {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return failed(staging.ErrTimeout, fmt.Sprintf("Staging did not finish within %s", limit))
	case isFull(err):
		return failed(staging.ErrInsufficient, fmt.Sprintf(
			"The disk of the staging container is full (limit %d MB)", spec.DiskMB))
	default:
		return failed(staging.ErrStaging, fmt.Sprintf("Staging error: %v", err))
	}
}

// isFull reports whether there was no space left on a device.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// fetch downloads what the build reads and opens what it writes. The files
// are to be closed, also with an error.
func (s *stager) fetch(ctx context.Context, spec staging.Spec) (*files, error) {
	f := &files{buildpacks: make([]*os.File, len(spec.Buildpacks))}
	var err error
	if f.pkg, err = s.download(ctx, "app package", spec.Package); err != nil {
		return f, err
	}
	for i, b := range spec.Buildpacks {
		if b.Blob.Digest == "" {
			continue
		}
		if f.buildpacks[i], err = s.download(ctx, "buildpack "+b.Name, b.Blob); err != nil {
			return f, err
		}
	}
	if spec.Cache.Digest != "" {
		// A build without its cache is slower, no worse.
		if f.cache, err = s.download(ctx, "build artifacts cache", spec.Cache); err != nil {
			if ctx.Err() != nil || isFull(err) {
				return f, err
			}
			s.say("The build artifacts cache could not be fetched and is not used: %v", err)
		}
	}
	if f.droplet, err = s.open(); err != nil {
		return f, err
	}
	f.cacheOut, err = s.open()
	return f, err
}

func (s *stager) download(ctx context.Context, what string, b instance.Blob) (*os.File, error) {
	s.say("Downloading %s...", what)
	f, err := s.open()
	if err != nil {
		return nil, err
	}
	if err := s.fence.blob(ctx, b, f); err != nil {
		f.Close()
		return nil, fmt.Errorf("downloading the %s: %w", what, err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	s.say("Downloaded %s (%s)", what, size(info.Size()))
	return f, nil
}

// open makes a file without a name.
func (s *stager) open() (*os.File, error) {
	f, err := os.CreateTemp(s.spool, "stage-*")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// upload hands in the droplet and the cache.
func (s *stager) upload(ctx context.Context, result staging.Result, f *files) (staging.Result, error) {
	s.say("Uploading droplet, build artifacts cache...")
	// Only what is uploaded here is the build's: the building process, where
	// strangers' code runs, cannot name another app's.
	result.Droplet, result.Cache = instance.Blob{}, instance.Blob{}
	var err error
	if result.Droplet, err = s.fence.put(ctx, "droplet", f.droplet); err != nil {
		return result, fmt.Errorf("uploading the droplet: %w", err)
	}
	s.say("Uploaded droplet (%s)", size(result.Droplet.Size))
	if info, err := f.cacheOut.Stat(); err != nil || info.Size() == 0 {
		return result, err
	}
	cache, err := s.fence.put(ctx, "cache", f.cacheOut)
	if err != nil {
		s.say("The build artifacts cache could not be uploaded: %v", err)
		return result, ctx.Err()
	}
	result.Cache = cache
	s.say("Uploaded build artifacts cache (%s)", size(cache.Size))
	return result, nil
}

func (s *stager) say(format string, args ...any) { fmt.Fprintf(s.log, format+"\n", args...) }

// size shows bytes as Cloud Foundry does: 512B, 1.2K, 33.4M.
func size(n int64) string {
	value, units := float64(n), "BKMGT"
	for value >= 1024 && len(units) > 1 {
		value, units = value/1024, units[1:]
	}
	if units[0] == 'B' {
		return fmt.Sprintf("%dB", n)
	}
	return fmt.Sprintf("%.1f%c", value, units[0])
}
