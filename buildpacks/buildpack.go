// Package buildpacks holds the buildpacks that are built into the stager, and
// the contract that they share with those of developers: detect, supply,
// finalize, release. What is said to the developer goes to Context.Log.
//
// They run as the app's user, in the container of one build.
package buildpacks

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Buildpack turns a developer's files into something that runs. Detect and
// Release change nothing; Supply puts dependencies into Context.Dep;
// Finalize makes the app ready to start. The last buildpack of a build gets
// Supply and Finalize, those before it Supply only.
type Buildpack interface {
	// Detect reports whether the app is one for this buildpack, and in a few
	// words what it found.
	Detect(ctx context.Context, c *Context) (found string, ok bool, err error)
	Supply(ctx context.Context, c *Context) error
	Finalize(ctx context.Context, c *Context) error
	Release(ctx context.Context, c *Context) (Release, error)
}

// Release is how an app starts if its Procfile does not say.
type Release struct {
	// ProcessTypes maps a process type, such as "web", to its command.
	ProcessTypes map[string]string `yaml:"default_process_types"`
}

// Context is one build as one buildpack sees it. Directories are absolute.
type Context struct {
	App     string // the app's files; /home/vcap/app
	Cache   string // kept for the app's next build
	Deps    string // of all buildpacks; /home/vcap/deps
	Profile string // scripts that are sourced before the app starts
	Temp    string // no part of the droplet
	Index   int    // of this buildpack in Deps
	Final   bool   // the last buildpack
	AppName string

	// Env is the environment of commands.
	Env map[string]string
	Log *Log
	// Run executes a command and waits for it.
	Run func(context.Context, Command) error
}

// Command is a program that a buildpack runs.
type Command struct {
	Args []string          // the first is looked up in the environment's PATH
	Dir  string            // the app's directory if ""
	Env  map[string]string // over Context.Env
	// Stdout is the build's log if nil.
	Stdout io.Writer
	// Watch, if not nil, gets a copy of what goes to the build's log.
	Watch io.Writer
}

// Dep is this buildpack's own directory below Deps.
func (c *Context) Dep() string { return filepath.Join(c.Deps, strconv.Itoa(c.Index)) }

// has reports whether the app has a file of that name; a folder is none.
func (c *Context) has(name string) bool {
	info, err := os.Stat(filepath.Join(c.App, name))
	return err == nil && info.Mode().IsRegular()
}

func (c *Context) hasDir(name string) bool {
	info, err := os.Stat(filepath.Join(c.App, name))
	return err == nil && info.IsDir()
}

// maxConfig bounds what a buildpack reads of a configuration file, in bytes.
const maxConfig = 1 << 20

// read returns a configuration file of the app.
func (c *Context) read(name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(c.App, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxConfig {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxConfig)
	}
	return raw, nil
}

// builtin maps the names that apps use to buildpacks, in the order in which
// they are asked to detect.
var builtin = []struct {
	name string
	pack Buildpack
}{
	{"staticfile_buildpack", Staticfile{}},
	{"nodejs_buildpack", Nodejs{}},
	{"go_buildpack", Golang{}},
	{"python_buildpack", Python{}},
	{"binary_buildpack", Binary{}},
}

// Names returns the names of the built-in buildpacks, in the order in which
// they are asked whether an app is theirs.
func Names() []string {
	var names []string
	for _, b := range builtin {
		names = append(names, b.name)
	}
	return names
}

// Builtin returns the built-in buildpack of that name, with or without
// "_buildpack" at its end, nil if there is none.
func Builtin(name string) Buildpack {
	for _, b := range builtin {
		if b.name == name || strings.TrimSuffix(b.name, "_buildpack") == name {
			return b.pack
		}
	}
	return nil
}

// Environ returns env as a list, sorted.
func Environ(env map[string]string) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(env)) {
		out = append(out, k+"="+env[k])
	}
	return out
}
