package buildpacks

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Bounds of what the buildpacks fetch themselves.
const (
	maxIndex    = 64 << 20        // of a registry's description of a package, bytes
	maxArchive  = 512 << 20       // of a runtime, bytes
	maxUnpacked = 2 << 30         // of a runtime, bytes
	fetchTime   = 5 * time.Minute // of one runtime
	fetchTries  = 4
)

// httpClient trusts and goes through what this process's environment says:
// SSL_CERT_FILE, HTTPS_PROXY, NO_PROXY.
var httpClient = &http.Client{Timeout: fetchTime}

// fetch copies what is at an address to w, which restart empties before each
// attempt.
func fetch(ctx context.Context, url, accept string, limit int64, w io.Writer, restart func() error) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		if err := restart(); err != nil {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, fetchOnce(ctx, url, accept, limit, w)
	}, backoff.WithMaxTries(fetchTries))
	var permanent *backoff.PermanentError
	if errors.As(err, &permanent) {
		return permanent.Err
	}
	return err
}

func fetchOnce(ctx context.Context, url, accept string, limit int64, w io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return backoff.Permanent(err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		err := fmt.Errorf("%s: %s", req.URL.Redacted(), resp.Status)
		if resp.StatusCode/100 == 4 && resp.StatusCode != http.StatusTooManyRequests {
			return backoff.Permanent(err)
		}
		return err
	}
	n, err := io.Copy(w, io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return err
	}
	if n > limit {
		return backoff.Permanent(fmt.Errorf("%s is larger than %d bytes", req.URL.Redacted(), limit))
	}
	return nil
}

// fetchFile downloads into a file, which appears when it is complete and check
// has found nothing wrong with it. One that is there already is checked as
// well: it comes from the build cache.
func fetchFile(ctx context.Context, url, name string, check func(name string) error) error {
	if _, err := os.Stat(name); err == nil {
		if check(name) == nil {
			return nil
		}
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".fetch-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = fetch(ctx, url, "", maxArchive, f, func() error {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return f.Truncate(0)
	})
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := check(f.Name()); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return os.Rename(f.Name(), name)
}

// keepOnly removes from dir what is not named: older versions of a runtime.
func keepOnly(dir string, names ...string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		keep := false
		for _, name := range names {
			keep = keep || e.Name() == name
		}
		if !keep {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// unpackTarball unpacks a tar.gz whose entries begin with prefix, below dir.
// Links are left out: the archives that it is for have none that matter.
func unpackTarball(ctx context.Context, name, prefix, dir string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	zipped, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	defer zipped.Close()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	in := tar.NewReader(io.LimitReader(zipped, maxUnpacked))
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		local, ok := strings.CutPrefix(h.Name, prefix)
		if !ok || h.Typeflag != tar.TypeReg {
			continue
		}
		if err := writeBelow(root, local, in, fs.FileMode(h.Mode).Perm()|0o644); err != nil {
			return err
		}
	}
}

// writeBelow writes a file; root refuses names that lead out.
func writeBelow(root *os.Root, name string, r io.Reader, perm fs.FileMode) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
