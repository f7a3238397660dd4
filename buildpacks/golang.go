package buildpacks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

// Golang builds a Go module, with the Go version that its go.mod asks for.
type Golang struct{}

// Detect looks for a go.mod.
func (Golang) Detect(_ context.Context, c *Context) (string, bool, error) {
	return "go", c.has("go.mod"), nil
}

// Supply has nothing to do: the toolchain is no part of the droplet.
func (Golang) Supply(context.Context, *Context) error { return nil }

// Finalize fetches the toolchain if need be, and builds.
func (Golang) Finalize(ctx context.Context, c *Context) error {
	mod, err := readModule(c)
	if err != nil {
		return err
	}
	env, err := c.stagingEnvironment()
	if err != nil {
		return err
	}
	version, err := chooseGo(ctx, c, mod, env)
	if err != nil {
		return err
	}
	if err := writeConfig(c, "go", version); err != nil {
		return err
	}
	goEnvironment(c, env)
	names, err := buildModule(ctx, c, env)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.Dep(), "command"), []byte(mainOf(names, moduleName(mod))), 0o644); err != nil {
		return err
	}
	return writeProfile(c)
}

func readModule(c *Context) (*modfile.File, error) {
	raw, err := c.read("go.mod")
	if err != nil {
		return nil, err
	}
	mod, err := modfile.Parse("go.mod", raw, nil)
	if err != nil {
		// A newer go.mod may have words that are not known here.
		if mod, err = modfile.ParseLax("go.mod", raw, nil); err != nil {
			return nil, err
		}
	}
	if mod.Module == nil {
		return nil, errors.New("go.mod names no module")
	}
	return mod, nil
}

// goEnvironment adds what the go command needs. Modules are kept for the next
// build.
func goEnvironment(c *Context, env map[string]string) {
	for name, value := range map[string]string{
		"GOPATH": filepath.Join(c.Temp, "gopath"), "GOCACHE": filepath.Join(c.Cache, "go-build"),
		"GOMODCACHE": filepath.Join(c.Cache, "go-mod"), "GOTOOLCHAIN": "local",
	} {
		env[name] = value
	}
	flags := "-modcacherw -buildvcs=false"
	if c.hasDir("vendor") && c.has("vendor/modules.txt") {
		flags += " -mod=vendor"
		c.Log.Info("Using vendored modules")
	}
	env["GOFLAGS"] = strings.TrimSpace(env["GOFLAGS"] + " " + flags)
}

var moduleProxy = upstream{"the module proxy", "GOPROXY", "push the modules with the app: go mod vendor"}

// packageSpec is what GO_INSTALL_PACKAGE_SPEC may be.
var packageSpec = regexp.MustCompile(`^[A-Za-z0-9._/~-]+$`)

// buildModule builds the main packages into bin/ and returns their names.
func buildModule(ctx context.Context, c *Context, env map[string]string) ([]string, error) {
	specs := strings.Fields(env["GO_INSTALL_PACKAGE_SPEC"])
	if len(specs) == 0 {
		specs = []string{"."}
		if found, err := filepath.Glob(filepath.Join(c.App, "*.go")); err != nil || len(found) == 0 {
			specs = []string{"./..."}
		}
	}
	for _, s := range specs {
		if !packageSpec.MatchString(s) || strings.HasPrefix(s, "-") {
			return nil, fmt.Errorf("GO_INSTALL_PACKAGE_SPEC: %q is no package", s)
		}
	}
	out, err := os.MkdirTemp(c.Temp, "go-bin-")
	if err != nil {
		return nil, err
	}
	c.Log.Step("Running: go build %s", strings.Join(specs, " "))
	// The slash: a directory, into which only main packages are written.
	args := append([]string{"go", "build", "-trimpath", "-ldflags=-s -w", "-o", out + "/"}, specs...)
	if err := moduleProxy.run(ctx, c, Command{Args: args, Env: env}); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(out)
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("there is no main package in %s; name one in GO_INSTALL_PACKAGE_SPEC", strings.Join(specs, " "))
	}
	bin := filepath.Join(c.App, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		if err := copyFile(filepath.Join(out, e.Name()), filepath.Join(bin, e.Name()), 0o755); err != nil {
			return nil, err
		}
	}
	return names, os.RemoveAll(out)
}

// versionSuffix is that of a module's major version.
var versionSuffix = regexp.MustCompile(`^v[0-9]+$`)

// moduleName is the last word of a module's path, without its major version.
func moduleName(mod *modfile.File) string {
	name := path.Base(mod.Module.Mod.Path)
	if versionSuffix.MatchString(name) {
		name = path.Base(path.Dir(mod.Module.Mod.Path))
	}
	return name
}

// mainOf picks the program that answers requests: the one named as the module,
// or "web" or "server", or the first.
func mainOf(names []string, module string) string {
	for _, want := range []string{module, "web", "server"} {
		if slices.Contains(names, want) {
			return want
		}
	}
	return names[0]
}

// Release starts the program that Finalize chose.
func (Golang) Release(_ context.Context, c *Context) (Release, error) {
	raw, err := os.ReadFile(filepath.Join(c.Dep(), "command"))
	if err != nil {
		return Release{}, err
	}
	return Release{ProcessTypes: map[string]string{"web": "./bin/" + string(raw)}}, nil
}
