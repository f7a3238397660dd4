package buildpacks

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// installNeeds runs pip, from vendor/ alone if the app has it.
func installNeeds(ctx context.Context, c *Context, n needs, version string) error {
	what, err := n.arguments(ctx, c)
	if err != nil {
		return err
	}
	if len(what) == 0 {
		c.Log.Info("The app has no requirements.txt and names no dependencies elsewhere: nothing to install")
		return nil
	}
	env, err := c.stagingEnvironment()
	if err != nil {
		return err
	}
	for name, value := range map[string]string{
		"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_CACHE_DIR": filepath.Join(c.Cache, "pip"),
	} {
		if env[name] == "" {
			env[name] = value
		}
	}
	args := append([]string{filepath.Join(c.Dep(), "bin", "python"), "-m", "pip", "install"}, what...)
	vendored := c.hasDir("vendor")
	if vendored {
		c.Log.Step("Running pip install (%s, from vendor/ only)", n)
		args = append(args, "--no-index", "--find-links", "vendor")
	} else {
		c.Log.Step("Running pip install (%s)", n)
	}
	var w pipWatch
	if err := c.Run(ctx, Command{Args: args, Env: env, Watch: &lines{look: w.look}}); err != nil {
		if advice := w.advice(vendored, version); advice != "" {
			return fmt.Errorf("pip install failed: %s", advice)
		}
		return fmt.Errorf("pip install failed, as it says above: %w", err)
	}
	return nil
}

// pipWatch reads along what pip says, to tell afterwards what can be done
// about its failure: pip itself says of an index that it cannot reach that
// there is no such package.
type pipWatch struct {
	network

	hashes, unhashed    bool
	impossible, unbuilt bool
	missing             string // the requirement that nothing satisfies
}

func (w *pipWatch) look(line string) {
	w.network.look(line)
	says := says(line)
	if _, missing, ok := strings.Cut(line, "No matching distribution found for "); ok {
		w.missing = strings.TrimSpace(missing)
	}
	w.hashes = w.hashes || says("DO NOT MATCH THE HASHES")
	w.unhashed = w.unhashed || says("Hashes are required in --require-hashes mode", "all requirements must have their versions pinned")
	w.impossible = w.impossible || says("ResolutionImpossible")
	w.unbuilt = w.unbuilt || says("Failed building wheel", "Failed to build", "subprocess-exited-with-error", "metadata-generation-failed")
}

// vendorHint is the way out that needs nobody else.
const vendorHint = "push the wheels with the app: pip wheel -r requirements.txt -w vendor, with the Python of the stack"

var packageIndex = upstream{"the package index", "PIP_INDEX_URL", vendorHint}

// advice is a sentence on what to do, "" if the failure is none that is known.
func (w *pipWatch) advice(vendored bool, version string) string {
	switch {
	case w.hashes:
		return "what the index gave is not what its hash says: make the hashes of requirements.txt anew, and if they are right ask who runs the index"
	case w.unhashed:
		return "where one requirement has a hash, every one needs a version and a hash, also those that others ask for: pip-compile --generate-hashes writes them"
	case w.network != network{}:
		return w.network.advice(packageIndex)
	case w.missing != "" && vendored:
		return fmt.Sprintf("vendor/ has nothing for %s that Python %s can use: %s; without the folder the index is asked", w.missing, version, vendorHint)
	case w.missing != "":
		return fmt.Sprintf("the index has no %s that Python %s can use: look at the name and the version", w.missing, version)
	case w.impossible:
		return "the requirements exclude each other, as pip says above: loosen one of the versions"
	case w.unbuilt:
		return "a package that comes as source could not be built, as pip says above: if it needs a compiler and the stack has none, " + vendorHint
	}
	return ""
}
