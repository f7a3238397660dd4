package buildpacks

import (
	"bytes"
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
	w := &pipWatch{}
	if err := c.Run(ctx, Command{Args: args, Env: env, Watch: w}); err != nil {
		if advice := w.advice(vendored, version); advice != "" {
			return fmt.Errorf("pip install failed: %s", advice)
		}
		return fmt.Errorf("pip install failed, as it says above: %w", err)
	}
	return nil
}

// maxPipLine bounds what is looked at of a line, in bytes.
const maxPipLine = 4 << 10

// pipWatch reads along what pip says, to tell afterwards what can be done
// about its failure: pip itself says of an index that it cannot reach that
// there is no such package.
type pipWatch struct {
	line []byte

	unreachable, untrusted, proxy bool
	hashes, unhashed              bool
	impossible, unbuilt           bool
	missing                       string // the requirement that nothing satisfies
}

// Write never fails.
func (w *pipWatch) Write(p []byte) (int, error) {
	n := len(p)
	for {
		head, rest, ended := bytes.Cut(p, []byte{'\n'})
		w.line = append(w.line, head[:min(len(head), maxPipLine-len(w.line))]...)
		if !ended {
			return n, nil
		}
		w.look(string(w.line))
		w.line, p = w.line[:0], rest
	}
}

func (w *pipWatch) look(line string) {
	says := func(words ...string) bool {
		for _, word := range words {
			if strings.Contains(line, word) {
				return true
			}
		}
		return false
	}
	_, missing, ok := strings.Cut(line, "No matching distribution found for ")
	if ok {
		w.missing = strings.TrimSpace(missing)
	}
	w.untrusted = w.untrusted || says("CERTIFICATE_VERIFY_FAILED", "problem confirming the ssl certificate")
	w.proxy = w.proxy || says("ProxyError", "Cannot connect to proxy", "Tunnel connection failed")
	w.unreachable = w.unreachable || says("Retrying (Retry(", "Max retries exceeded", "Temporary failure in name resolution", "ReadTimeoutError")
	w.hashes = w.hashes || says("DO NOT MATCH THE HASHES")
	w.unhashed = w.unhashed || says("Hashes are required in --require-hashes mode", "all requirements must have their versions pinned")
	w.impossible = w.impossible || says("ResolutionImpossible")
	w.unbuilt = w.unbuilt || says("Failed building wheel", "Failed to build", "subprocess-exited-with-error", "metadata-generation-failed")
}

// vendorHint is the way out that needs nobody else.
const vendorHint = "push the wheels with the app: pip wheel -r requirements.txt -w vendor, with the Python of the stack"

// advice is a sentence on what to do, "" if the failure is none that is known.
func (w *pipWatch) advice(vendored bool, version string) string {
	switch {
	case w.hashes:
		return "what the index gave is not what its hash says: make the hashes of requirements.txt anew, and if they are right ask who runs the index"
	case w.unhashed:
		return "where one requirement has a hash, every one needs a version and a hash, also those that others ask for: pip-compile --generate-hashes writes them"
	case w.untrusted:
		return "the certificate of the package index, or of the proxy before it, is not trusted: an operator adds its authority (kato config set cloud/certificates)"
	case w.proxy:
		return "the package index was not reached through the proxy: an operator looks at cloud/staging_http_proxy and cloud/staging_no_proxy (kato config get cloud)"
	case w.unreachable:
		return "the package index cannot be reached from here: name one that can be in PIP_INDEX_URL (cf set-env), ask an operator for a proxy (cloud/staging_http_proxy), or " + vendorHint
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
