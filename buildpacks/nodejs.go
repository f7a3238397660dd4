package buildpacks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// Nodejs builds apps that have a package.json with npm. The Node.js of the
// stack is taken where "engines" allows it; else another is fetched from the
// npm registry.
type Nodejs struct{}

// manifest is what matters of a package.json.
type manifest struct {
	Engines struct {
		Node string `json:"node"`
		NPM  string `json:"npm"`
	} `json:"engines"`
	Scripts map[string]string `json:"scripts"`
}

func readManifest(c *Context) (manifest, error) {
	var m manifest
	raw, err := c.read("package.json")
	if errors.Is(err, fs.ErrNotExist) {
		return m, errors.New("the app has no package.json")
	}
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("package.json: %w", err)
	}
	return m, nil
}

// Detect looks for a package.json.
func (Nodejs) Detect(_ context.Context, c *Context) (string, bool, error) {
	return "nodejs", c.has("package.json"), nil
}

// Supply finds or fetches Node.js.
func (Nodejs) Supply(ctx context.Context, c *Context) error {
	m, err := readManifest(c)
	if errors.Is(err, fs.ErrNotExist) || !c.Final && err != nil {
		m, err = manifest{}, nil // supplies Node.js to another buildpack
	}
	if err != nil {
		return err
	}
	c.Log.Step("Installing Node.js")
	want, err := nodeRange(m.Engines.Node)
	if err != nil {
		return err
	}
	if m.Engines.Node == "" {
		c.Log.Info("engines.node (package.json): unspecified")
	} else {
		c.Log.Info("engines.node (package.json): %s", m.Engines.Node)
	}
	if at, ok := stackNode(ctx, c); ok && (want == nil || want.Check(at)) {
		c.Log.Info("Using Node.js %s of the stack", at)
		return writeConfig(c, "nodejs", at.String())
	}
	at, err := installNode(ctx, c, want)
	if err != nil {
		return err
	}
	return writeConfig(c, "nodejs", at.String())
}

// nodeRange parses engines.node; nil means any.
func nodeRange(text string) (*semver.Constraints, error) {
	switch text = strings.TrimSpace(text); text {
	case "", "*", "x", "latest", "node", "lts", "lts/*":
		return nil, nil
	}
	want, err := semver.NewConstraint(text)
	if err != nil {
		return nil, fmt.Errorf("package.json: engines.node %q is no range of versions: %w", text, err)
	}
	return want, nil
}

// stackNode returns the version of the stack's Node.js, if there is one with
// npm.
func stackNode(ctx context.Context, c *Context) (*semver.Version, bool) {
	var out strings.Builder
	if err := c.Run(ctx, Command{Args: []string{"node", "--version"}, Stdout: &out}); err != nil {
		return nil, false
	}
	if err := c.Run(ctx, Command{Args: []string{"npm", "--version"}, Stdout: &strings.Builder{}}); err != nil {
		return nil, false
	}
	at, err := semver.NewVersion(strings.TrimSpace(out.String()))
	return at, err == nil
}

// Finalize installs what package.json and its lock file name.
func (Nodejs) Finalize(ctx context.Context, c *Context) error {
	m, err := readManifest(c)
	if err != nil {
		return err
	}
	env, err := c.stagingEnvironment()
	if err != nil {
		return err
	}
	for name, value := range map[string]string{
		"NODE_ENV": "production", "npm_config_cache": filepath.Join(c.Cache, "npm"),
		"npm_config_audit": "false", "npm_config_fund": "false", "npm_config_update_notifier": "false",
		"npm_config_loglevel": "warn", "CI": "true",
	} {
		if env[name] == "" {
			env[name] = value
		}
	}
	c.Log.Step("Creating runtime environment")
	c.Log.Info("NODE_ENV=%s", env["NODE_ENV"])
	if err := runScript(ctx, c, m, env, "heroku-prebuild"); err != nil {
		return err
	}
	c.Log.Step("Building dependencies")
	args := c.npmInstall()
	c.Log.Info("Installing node modules (%s)", strings.Join(args, " "))
	if err := npmRegistry.run(ctx, c, Command{Args: args, Env: env}); err != nil {
		return err
	}
	if err := runScript(ctx, c, m, env, "heroku-postbuild"); err != nil {
		return err
	}
	if err := c.profileScript("node.sh", "export NODE_ENV=${NODE_ENV:-production}\nexport npm_config_update_notifier=false\n"); err != nil {
		return err
	}
	return writeProfile(c)
}

var npmRegistry = upstream{"the npm registry", "npm_config_registry", "push node_modules with the app"}

// npmInstall returns how dependencies are installed: exactly as locked, or as
// they were pushed, or as package.json says.
func (c *Context) npmInstall() []string {
	switch {
	case c.has("package-lock.json") || c.has("npm-shrinkwrap.json"):
		return []string{"npm", "ci"}
	case c.hasDir("node_modules"):
		return []string{"npm", "rebuild"}
	}
	if c.has("yarn.lock") {
		c.Log.Warn("yarn.lock is not read; push a package-lock.json (npm install --package-lock-only) for exact versions")
	} else {
		c.Log.Warn("without a package-lock.json each build may install other versions")
	}
	return []string{"npm", "install", "--no-package-lock"}
}

func runScript(ctx context.Context, c *Context, m manifest, env map[string]string, script string) error {
	if m.Scripts[script] == "" {
		return nil
	}
	c.Log.Info("Running %s", script)
	return c.Run(ctx, Command{Args: []string{"npm", "run", script}, Env: env})
}

// Release starts the app's start script, or its server.js.
func (Nodejs) Release(_ context.Context, c *Context) (Release, error) {
	m, err := readManifest(c)
	if err != nil {
		return Release{}, err
	}
	if m.Scripts["start"] == "" && !c.has("server.js") {
		c.Log.Warn("package.json has no script %q", "start")
		return Release{}, nil
	}
	return Release{ProcessTypes: map[string]string{"web": "npm start"}}, nil
}

// profileScript writes a script of this buildpack that is sourced before the
// app starts.
func (c *Context) profileScript(name, text string) error {
	dir := filepath.Join(c.Dep(), "profile.d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755)
}

// writeConfig says in the dependency's folder what it is.
func writeConfig(c *Context, name, version string) error {
	return os.WriteFile(filepath.Join(c.Dep(), "config.yml"), fmt.Appendf(nil, "name: %s\nversion: %q\n", name, version), 0o644)
}
