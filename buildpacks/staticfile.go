package buildpacks

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Staticfile serves files with nginx. The app's Staticfile says how, in the
// words of Cloud Foundry's buildpack.
type Staticfile struct{}

//go:embed staticfile_boot.sh
var staticfileBoot []byte

// notServed are files of the app's root that are no part of the site.
var notServed = []string{
	"Staticfile", "Staticfile.auth", "manifest.yml", "manifest.yaml", "stackato.yml", "Procfile",
	".profile", ".profile.d", ".cloudfoundry", ".cfignore", "nginx",
}

// Detect looks for a Staticfile.
func (Staticfile) Detect(_ context.Context, c *Context) (string, bool, error) {
	return "staticfile", c.has("Staticfile"), nil
}

// Supply has nothing to do: nginx is part of the stack.
func (Staticfile) Supply(context.Context, *Context) error { return nil }

// Finalize moves the site to public/ and writes nginx's configuration.
func (Staticfile) Finalize(ctx context.Context, c *Context) error {
	conf, err := readSite(c)
	if err != nil {
		return err
	}
	if err := publish(c, conf.Root); err != nil {
		return err
	}
	c.Log.Step("Configuring nginx")
	if err := writeSite(c, conf); err != nil {
		return err
	}
	if err := stampFiles(filepath.Join(c.App, "public")); err != nil {
		return err
	}
	if err := checkSite(ctx, c); err != nil {
		return err
	}
	return writeProfile(c)
}

// Release names the script that Finalize wrote.
func (Staticfile) Release(context.Context, *Context) (Release, error) {
	return Release{ProcessTypes: map[string]string{"web": "$HOME/boot.sh"}}, nil
}

// publish moves the site's files to public/, which may itself be, or lie in,
// the folder that is published.
func publish(c *Context, root string) error {
	from := filepath.Join(c.App, root)
	info, err := os.Stat(from)
	if err != nil || !info.IsDir() {
		return fmt.Errorf("the application Staticfile specifies a root directory %q that does not exist", root)
	}
	if root == "" || root == "." {
		c.Log.Step("Root folder %s", c.App)
	} else {
		c.Log.Step("Root folder %s", path.Join("/", filepath.ToSlash(root)))
	}
	c.Log.Step("Copying project files into public")
	site, err := os.MkdirTemp(c.App, ".site-")
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	atTop := filepath.Clean(from) == filepath.Clean(c.App)
	for _, e := range entries {
		if e.Name() == filepath.Base(site) || atTop && slices.Contains(notServed, e.Name()) {
			continue
		}
		if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(site, e.Name())); err != nil {
			return err
		}
	}
	public := filepath.Join(c.App, "public")
	if err := os.RemoveAll(public); err != nil {
		return err
	}
	if err := os.Chmod(site, 0o755); err != nil {
		return err
	}
	return os.Rename(site, public)
}

// writeSite writes nginx/conf and boot.sh.
func writeSite(c *Context, conf site) error {
	dir := filepath.Join(c.App, "nginx", "conf")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if c.has("Staticfile.auth") {
		c.Log.Step("Enabling basic authentication using Staticfile.auth")
		if err := os.Rename(filepath.Join(c.App, "Staticfile.auth"), filepath.Join(dir, ".htpasswd")); err != nil {
			return err
		}
		if err := os.Chmod(filepath.Join(dir, ".htpasswd"), 0o600); err != nil {
			return err
		}
		conf.Auth = true
	}
	text, err := conf.render()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf.template"), text, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.App, "boot.sh"), staticfileBoot, 0o755)
}

// checkSite has nginx read what it will be started with, so that a mistake in
// an included file is seen now.
func checkSite(ctx context.Context, c *Context) error {
	var out strings.Builder
	err := c.Run(ctx, Command{
		Args: []string{"bash", filepath.Join(c.App, "boot.sh"), "check"}, Stdout: &out,
		Env: map[string]string{"HOME": c.App, "PORT": "8080"},
	})
	if err != nil {
		return fmt.Errorf("nginx refuses its configuration: %w: %s", err, strings.TrimSpace(out.String()))
	}
	return nil
}

// stampFiles gives each file a time that is made of its content. nginx makes
// ETag and Last-Modified from time and size, and all files of a package can
// have one time: a browser would keep a changed file of the same size.
func stampFiles(root string) error {
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		sum := sha256.New()
		_, err = io.Copy(sum, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		// Four years, from 2001-09-09.
		seconds := 1_000_000_000 + int64(binary.BigEndian.Uint32(sum.Sum(nil))>>5)
		stamp := time.Unix(seconds, 0)
		return os.Chtimes(p, stamp, stamp)
	})
}
