package lifecycle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/stackato/stackato/buildpacks"
	"github.com/stackato/stackato/internal/buildinfo"
	"github.com/stackato/stackato/wire/staging"
)

// pack is a buildpack of the build, ready to run.
type pack struct {
	buildpacks.Buildpack
	spec    staging.Buildpack
	found   string // what detect said
	version string
}

// name is what the developer knows it by, without a password.
func (p pack) name() string {
	if p.spec.URL != "" {
		return redact(p.spec.URL)
	}
	return p.spec.Name
}

// key names its cache.
func (p pack) key() string {
	sum := sha256.Sum256([]byte(p.name()))
	return hex.EncodeToString(sum[:16])
}

// openPacks makes the build's buildpacks ready: unpacked or cloned.
func (b *Build) openPacks(ctx context.Context) error {
	if len(b.Spec.Buildpacks) == 0 {
		return failure(staging.ErrNoAppDetected, "There are no buildpacks for stack %q", b.Spec.Stack)
	}
	for i, spec := range b.Spec.Buildpacks {
		p := pack{spec: spec}
		var err error
		switch {
		case spec.Builtin != "":
			p.version = buildinfo.Version
			if p.Buildpack = buildpacks.Builtin(spec.Builtin); p.Buildpack == nil {
				err = failure(staging.ErrStaging, "the buildpack %q is not part of this stager", spec.Builtin)
			}
		case spec.URL != "":
			p.Buildpack, err = b.clone(ctx, i, spec.URL)
		default:
			p.Buildpack, err = b.unpackPack(ctx, i)
		}
		if err != nil {
			return err
		}
		b.packs = append(b.packs, p)
	}
	return nil
}

func (b *Build) packDir(i int) string {
	return filepath.Join(b.temp("buildpacks"), strconv.Itoa(i))
}

// unpackPack unpacks an uploaded zip.
func (b *Build) unpackPack(ctx context.Context, i int) (buildpacks.Buildpack, error) {
	name := b.Spec.Buildpacks[i].Name
	if i >= len(b.Buildpacks) || b.Buildpacks[i] == nil {
		return nil, failure(staging.ErrStaging, "the buildpack %q was not fetched", name)
	}
	dir := b.packDir(i)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := unzip(ctx, b.Buildpacks[i], dir, b.limits()); err != nil {
		return nil, failure(staging.ErrStaging, "The buildpack %q is not valid: %v", name, err)
	}
	return openScripts(name, dir)
}

// context returns what buildpack p sees as number index of chosen.
func (b *Build) context(p pack, index int, final bool) (*buildpacks.Context, error) {
	cache := filepath.Join(b.temp("cache"), "final")
	if !final {
		cache = filepath.Join(b.temp("cache"), p.key())
	}
	c := &buildpacks.Context{
		App: b.dir("app"), Cache: cache, Deps: b.dir("deps"), Profile: b.dir("profile.d"), Temp: b.Temp,
		Index: index, Final: final, AppName: b.Spec.AppName,
		Env: maps.Clone(b.env), Log: b.log,
	}
	c.Run = b.runner(c)
	return c, errors.Join(os.MkdirAll(c.Cache, 0o755), os.MkdirAll(c.Dep(), 0o755))
}

// choose returns the buildpacks that take part, in order.
func (b *Build) choose(ctx context.Context) ([]pack, error) {
	if !b.Spec.Detect {
		return b.packs, nil
	}
	for _, p := range b.packs {
		c, err := b.context(p, 0, true)
		if err != nil {
			return nil, err
		}
		found, ok, err := p.Detect(ctx, c)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			b.log.Say("The buildpack %s could not be asked: %v", p.name(), err)
			continue
		}
		if ok {
			p.found = found
			return []pack{p}, nil
		}
	}
	b.log.Say("None of the buildpacks detected a compatible application")
	b.log.Say("Exit status 222")
	return nil, failure(staging.ErrNoAppDetected, "An app was not successfully detected by any available buildpack")
}

// compile has the last of the chosen buildpacks build the app, and those
// before it supply what it needs.
func (b *Build) compile(ctx context.Context, chosen []pack) error {
	for i, p := range chosen {
		final := i == len(chosen)-1
		c, err := b.context(p, i, final)
		if err != nil {
			return err
		}
		b.log.Step("%s", title(p))
		err = p.Supply(ctx, c)
		if err == nil && final {
			err = p.Finalize(ctx, c)
		}
		if err := b.failed(ctx, err, staging.ErrCompileFailed, "compile", 223); err != nil {
			return err
		}
	}
	return nil
}

func title(p pack) string {
	if p.version != "" {
		return fmt.Sprintf("%s (version %s)", p.name(), p.version)
	}
	return p.name()
}

// failed says to the developer that a phase failed and returns the failure,
// nil if it did not.
func (b *Build) failed(ctx context.Context, err error, code, phase string, exit int) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if isFull(err) {
		return err
	}
	b.log.Say(" !     %v", err)
	b.log.Say("Failed to %s droplet: %v", phase, err)
	b.log.Say("Exit status %d", exit)
	return failure(code, "App staging failed in the buildpack %s phase: %v", phase, err)
}

// configured is deps/<index>/config.yml, in which a buildpack says what it is.
type configured struct {
	Name    string `yaml:"name"`
	Version string `yaml:"version"`
}

// detected describes the buildpacks that took part.
func (b *Build) detected(chosen []pack) []staging.Detected {
	var out []staging.Detected
	for i, p := range chosen {
		d := staging.Detected{Name: p.name(), DetectOutput: p.found, Version: p.version}
		var said configured
		raw, err := readSmall(filepath.Join(b.dir("deps"), strconv.Itoa(i), "config.yml"))
		if err == nil && yaml.Unmarshal(raw, &said) == nil && said.Version != "" {
			d.Version = clip(said.Version, maxWord)
		}
		out = append(out, d)
	}
	return out
}

// maxSmall bounds files of developers that are read as a whole, in bytes.
const maxSmall = 1 << 20

// readSmall reads a regular file of at most maxSmall bytes.
func readSmall(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", filepath.Base(name), fs.ErrInvalid)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxSmall+1))
	if err == nil && len(raw) > maxSmall {
		err = fmt.Errorf("%s is larger than %d bytes", filepath.Base(name), maxSmall)
	}
	return raw, err
}

// maxWord bounds versions, names and what detect says, in bytes.
const maxWord = 255

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
