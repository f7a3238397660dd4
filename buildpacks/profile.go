package buildpacks

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Dependencies of several buildpacks meet in deps/<index>: bin and lib are put
// on the paths, env/NAME holds values, profile.d/*.sh is sourced at the start.
// A final buildpack makes that so, for the build and for the app.

// searchPaths maps a folder of a dependency to the variables that list it.
var searchPaths = []struct {
	dir  string
	vars []string
	// building: only while staging.
	building bool
}{
	{dir: "bin", vars: []string{"PATH"}},
	{dir: "lib", vars: []string{"LD_LIBRARY_PATH"}},
	{dir: "lib", vars: []string{"LIBRARY_PATH"}, building: true},
	{dir: "include", vars: []string{"CPATH", "CPLUS_INCLUDE_PATH"}, building: true},
	{dir: "pkgconfig", vars: []string{"PKG_CONFIG_PATH"}, building: true},
}

// depIndexes returns the indexes in Deps up to this buildpack's own, the
// latest first: what a later buildpack supplies comes first on a path.
func (c *Context) depIndexes() []string {
	var out []string
	for i := c.Index; i >= 0; i-- {
		if info, err := os.Stat(filepath.Join(c.Deps, strconv.Itoa(i))); err == nil && info.IsDir() {
			out = append(out, strconv.Itoa(i))
		}
	}
	return out
}

// stagingEnvironment returns Env with what the buildpacks before this one
// supplied.
func (c *Context) stagingEnvironment() (map[string]string, error) {
	env := maps.Clone(c.Env)
	indexes := c.depIndexes()
	for _, p := range searchPaths {
		var dirs []string
		for _, i := range indexes {
			dir := filepath.Join(c.Deps, i, p.dir)
			if info, err := os.Stat(dir); err == nil && info.IsDir() {
				dirs = append(dirs, dir)
			}
		}
		for _, name := range p.vars {
			list := dirs
			if old := env[name]; old != "" {
				list = append(list[:len(list):len(list)], old)
			}
			if len(dirs) > 0 {
				env[name] = strings.Join(list, ":")
			}
		}
	}
	for _, i := range indexes {
		if err := readEnvDir(filepath.Join(c.Deps, i, "env"), env); err != nil {
			return nil, err
		}
	}
	return env, nil
}

func readEnvDir(dir string, env map[string]string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		env[e.Name()] = string(raw)
	}
	return nil
}

// writeProfile puts into Profile what makes the supplied dependencies visible
// to the app.
func writeProfile(c *Context) error {
	var script strings.Builder
	script.WriteString("export DEPS_DIR=${DEPS_DIR:-/home/vcap/deps}\n")
	indexes := c.depIndexes()
	for _, p := range searchPaths {
		if p.building {
			continue
		}
		var dirs []string
		for _, i := range indexes {
			if info, err := os.Stat(filepath.Join(c.Deps, i, p.dir)); err == nil && info.IsDir() {
				dirs = append(dirs, "$DEPS_DIR/"+i+"/"+p.dir)
			}
		}
		for _, name := range p.vars {
			if len(dirs) > 0 {
				fmt.Fprintf(&script, "export %s=%s${%s:+:$%s}\n", name, strings.Join(dirs, ":"), name, name)
			}
		}
	}
	if err := os.MkdirAll(c.Profile, 0o755); err != nil {
		return err
	}
	for _, i := range indexes {
		if err := copyScripts(filepath.Join(c.Deps, i, "profile.d"), c.Profile, i+"_"); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(c.Profile, "000_multi-supply.sh"), []byte(script.String()), 0o644)
}

func copyScripts(from, to, prefix string) error {
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			if err := copyFile(filepath.Join(from, e.Name()), filepath.Join(to, prefix+e.Name()), 0o755); err != nil {
				return err
			}
		}
	}
	return nil
}

func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
