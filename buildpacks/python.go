package buildpacks

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Python makes a virtual environment with what the app asks for, with the
// Python of the stack.
type Python struct{}

// Detect looks for the files in which apps say what they need.
func (Python) Detect(_ context.Context, c *Context) (string, bool, error) {
	needs, err := pythonNeeds(c)
	return "python", needs != needsNothing, err
}

// Supply makes the virtual environment.
func (Python) Supply(ctx context.Context, c *Context) error {
	needs, err := pythonNeeds(c)
	if err != nil {
		return err
	}
	if needs == needsPipenv || needs == needsPoetry {
		return needs.refuse()
	}
	var out strings.Builder
	if err := c.Run(ctx, Command{Args: []string{"python3", "-c", "import platform; print(platform.python_version())"}, Stdout: &out}); err != nil {
		return fmt.Errorf("the stack has no Python: %w", err)
	}
	version := strings.TrimSpace(out.String())
	c.Log.Step("Using Python %s of the stack", version)
	if err := warnRuntime(c, version); err != nil {
		return err
	}
	// The folder itself is the environment: Python looks for what belongs to it
	// beside the folder that it was started from, not where a link leads.
	if err := c.Run(ctx, Command{Args: []string{"python3", "-m", "venv", c.Dep()}}); err != nil {
		return err
	}
	if err := writeConfig(c, "python", version); err != nil {
		return err
	}
	return installNeeds(ctx, c, needs, version)
}

// warnRuntime says if runtime.txt wants another Python: there is only one.
func warnRuntime(c *Context, version string) error {
	if !c.has("runtime.txt") {
		return nil
	}
	raw, err := c.read("runtime.txt")
	if err != nil {
		return err
	}
	want := strings.TrimPrefix(strings.TrimSpace(string(raw)), "python-")
	want = strings.TrimSuffix(want, ".x")
	if want != "" && want != version && !strings.HasPrefix(version, want+".") {
		c.Log.Warn("runtime.txt asks for Python %s; the app gets %s, the only one of the stack", want, version)
	}
	return nil
}

// Finalize makes the environment the app's.
func (Python) Finalize(_ context.Context, c *Context) error {
	script := fmt.Sprintf(`export VIRTUAL_ENV=${DEPS_DIR:-/home/vcap/deps}/%d
export PYTHONUNBUFFERED=${PYTHONUNBUFFERED:-1}
export PYTHONHASHSEED=${PYTHONHASHSEED:-random}
`, c.Index)
	return errors.Join(c.profileScript("python.sh", script), writeProfile(c))
}

// Release names no command: as in Cloud Foundry, the Procfile does.
func (Python) Release(context.Context, *Context) (Release, error) { return Release{}, nil }
