package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/stackato/stackato/buildpacks"
	"github.com/stackato/stackato/wire/staging"
)

// Build is one build: what it reads, where it works, where it writes. It is
// used once.
type Build struct {
	Spec staging.Spec // the Token is not needed

	Package *os.File // zip
	// Buildpacks are zips, as many as the spec has buildpacks; nil for one
	// that is built in or comes from git.
	Buildpacks []*os.File
	Cache      *os.File // of the app's last build, tar.gz; nil for none

	Droplet  io.Writer // gets a tar.gz
	CacheOut io.Writer // gets a tar.gz, or nothing if there is nothing to keep

	Home string // becomes app, deps, profile.d, …: /home/vcap
	Temp string // for what the droplet does not need: /tmp

	// Certificates is a file of trusted authorities, PEM; "" for the
	// system's.
	Certificates string
	Log          io.Writer // what the developer reads
	// AllowInternal lets git buildpacks come from internal addresses, by any
	// protocol. For tests.
	AllowInternal bool

	started time.Time
	env     map[string]string
	log     *buildpacks.Log
	packs   []pack
}

// BuildError is a build that did not succeed by the developer's doing. Its code
// words are those of package staging.
type BuildError struct {
	ErrCode string
	Detail  string // a sentence for the developer
}

func (f *BuildError) Error() string { return f.Detail }

// Code returns the code word.
func (f *BuildError) Code() string { return f.ErrCode }

// maxDetail bounds what is said of a failure, in bytes.
const maxDetail = 2 << 10

func failure(code, format string, args ...any) *BuildError {
	return &BuildError{ErrCode: code, Detail: clip(fmt.Sprintf(format, args...), maxDetail)}
}

// Run stages the app. The Result has no blobs yet. The error is a *BuildError if
// the developer can do something about it.
func (b *Build) Run(ctx context.Context) (staging.Result, error) {
	b.started = time.Now()
	b.log = buildpacks.NewLog(b.Log)
	result := staging.Result{BuildGUID: b.Spec.BuildGUID}
	ctx, stop := b.watchDisk(ctx)
	defer stop()
	err := b.stage(ctx, &result)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause // the disk is full, or the time is up
	}
	return result, full(err)
}

func (b *Build) stage(ctx context.Context, result *staging.Result) error {
	if err := b.prepare(ctx); err != nil {
		return err
	}
	chosen, err := b.choose(ctx)
	if err != nil {
		return err
	}
	if err := b.compile(ctx, chosen); err != nil {
		return err
	}
	started, err := b.release(ctx, chosen, result)
	if err != nil {
		return err
	}
	if err := b.describe(chosen, started); err != nil {
		return err
	}
	if err := b.pack(ctx); err != nil {
		return err
	}
	return b.keepCache(ctx)
}

func (b *Build) dir(name string) string  { return filepath.Join(b.Home, name) }
func (b *Build) temp(name string) string { return filepath.Join(b.Temp, name) }

// dropletDirs are the directories of a droplet.
var dropletDirs = []string{"app", "deps", "profile.d", "tmp", "logs"}

// prepare unpacks what the build reads.
func (b *Build) prepare(ctx context.Context) error {
	for _, name := range dropletDirs {
		if err := os.MkdirAll(b.dir(name), 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"cache", "buildpacks"} {
		if err := os.MkdirAll(b.temp(name), 0o755); err != nil {
			return err
		}
	}
	b.env = b.environment()
	if b.Package == nil {
		return failure(staging.ErrInvalidPackage, "the build has no package")
	}
	if err := unzip(ctx, b.Package, b.dir("app"), b.limits()); err != nil {
		return failure(staging.ErrInvalidPackage, "The app package is not valid: %v", err)
	}
	if b.Cache != nil {
		if err := untar(ctx, b.Cache, b.temp("cache"), b.limits()); err != nil {
			b.log.Warn("the build cache of the last build could not be used: %v", err)
			if err := errors.Join(os.RemoveAll(b.temp("cache")), os.MkdirAll(b.temp("cache"), 0o755)); err != nil {
				return err
			}
		}
	}
	return b.openPacks(ctx)
}

// defaultDiskMB is what a build may use if its spec does not say, MiB.
const defaultDiskMB = 4096

func (b *Build) diskMB() int64 {
	if b.Spec.DiskMB > 0 {
		return int64(b.Spec.DiskMB)
	}
	return defaultDiskMB
}

// limits of one archive.
func (b *Build) limits() limits { return limits{bytes: b.diskMB() << 20, entries: maxEntries} }
