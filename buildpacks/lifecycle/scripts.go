package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/stackato/stackato/buildpacks"
)

// scripts is a buildpack made of programs in bin/: detect, supply, finalize,
// release, or the older compile.
type scripts struct {
	name string
	dir  string
}

// openScripts returns the buildpack in dir. Archives of git hosts have one
// folder around everything.
func openScripts(name, dir string) (scripts, error) {
	if !exists(filepath.Join(dir, "bin")) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return scripts{}, err
		}
		if len(entries) == 1 && entries[0].IsDir() {
			dir = filepath.Join(dir, entries[0].Name())
		}
	}
	s := scripts{name: name, dir: dir}
	for _, script := range []string{"detect", "supply", "finalize", "compile", "release"} {
		if s.has(script) {
			// Zips that were made where files have no modes.
			if err := os.Chmod(s.path(script), 0o755); err != nil {
				return scripts{}, err
			}
		}
	}
	return s, nil
}

func (s scripts) path(script string) string { return filepath.Join(s.dir, "bin", script) }

func (s scripts) has(script string) bool {
	info, err := os.Stat(s.path(script))
	return err == nil && info.Mode().IsRegular()
}

// run executes one script. Its own failure is told with its exit code.
func (s scripts) run(ctx context.Context, c *buildpacks.Context, out *bounded, script string, args ...string) error {
	command := buildpacks.Command{
		Args: append([]string{s.path(script)}, args...),
		Env:  map[string]string{"BUILDPACK_DIR": s.dir},
	}
	if out != nil {
		command.Stdout = out
	}
	return c.Run(ctx, command)
}

// Detect runs bin/detect. Exit code 0 is yes.
func (s scripts) Detect(ctx context.Context, c *buildpacks.Context) (string, bool, error) {
	if !s.has("detect") {
		return "", false, errors.New("it has no bin/detect")
	}
	out := &bounded{limit: maxSmall}
	err := s.run(ctx, c, out, "detect", c.App)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	return clip(strings.TrimSpace(out.String()), maxWord), true, nil
}

// Supply runs bin/supply. A buildpack without it can only be the last.
func (s scripts) Supply(ctx context.Context, c *buildpacks.Context) error {
	if s.has("supply") && (!c.Final || s.has("finalize")) {
		return s.run(ctx, c, nil, "supply", c.App, c.Cache, c.Deps, strconv.Itoa(c.Index))
	}
	if !c.Final {
		return errors.New("one of the buildpacks chosen to supply dependencies does not support multi-buildpack apps")
	}
	return nil
}

// Finalize runs bin/finalize, or bin/compile of an older buildpack.
func (s scripts) Finalize(ctx context.Context, c *buildpacks.Context) error {
	if s.has("finalize") {
		return s.run(ctx, c, nil, "finalize", c.App, c.Cache, c.Deps, strconv.Itoa(c.Index), c.Profile)
	}
	if !s.has("compile") {
		return errors.New("the buildpack has neither bin/finalize nor bin/compile")
	}
	if c.Index > 0 {
		c.Log.Warn("the last buildpack is not compatible with multi-buildpack apps and cannot make use of any " +
			"dependencies supplied by the buildpacks specified before it")
	}
	return s.run(ctx, c, nil, "compile", c.App, c.Cache, "")
}

// Release runs bin/release and reads what it prints.
func (s scripts) Release(ctx context.Context, c *buildpacks.Context) (buildpacks.Release, error) {
	var release buildpacks.Release
	if !s.has("release") {
		return release, nil
	}
	out := &bounded{limit: maxSmall}
	if err := s.run(ctx, c, out, "release", c.App); err != nil {
		return release, err
	}
	if out.cut {
		return release, fmt.Errorf("bin/release printed more than %d bytes", out.limit)
	}
	if err := yaml.Unmarshal(out.kept, &release); err != nil {
		return release, fmt.Errorf("buildpack's release output invalid: %w", err)
	}
	return release, nil
}
