package lifecycle

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// maxEntries bounds the files and folders of one archive. The largest
// node_modules seen in the wild have about 200,000.
const maxEntries = 500_000

// maxLink bounds the target of a symbolic link, in bytes.
const maxLink = 4096

// limits bound what comes out of an archive.
type limits struct {
	bytes   int64
	entries int
}

// errTooLarge and errEscape are what archives are refused for.
var errTooLarge = errors.New("it is larger than the build's disk limit when unpacked")

type escapeError struct{ name, why string }

func (e *escapeError) Error() string { return fmt.Sprintf("%q %s", e.name, e.why) }

// unzip unpacks a zip into a folder. What leads out of the folder is refused:
// names, and links, which are made last so that nothing is written through
// them. Half an archive may have been unpacked when it returns an error.
func unzip(ctx context.Context, f *os.File, dir string, limit limits) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	archive, err := zip.NewReader(f, info.Size())
	if err != nil {
		return fmt.Errorf("it is no zip archive: %w", err)
	}
	if len(archive.File) > limit.entries {
		return fmt.Errorf("it has %d entries, more than the %d that are allowed", len(archive.File), limit.entries)
	}
	x, err := newExtractor(dir, limit)
	if err != nil {
		return err
	}
	defer x.close()
	for _, e := range archive.File {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := x.zipEntry(e); err != nil {
			return err
		}
	}
	return x.finish()
}

func (x *extractor) zipEntry(e *zip.File) error {
	// archive/zip gives a folder's mode for a name that ends in a slash.
	mode := e.Mode()
	switch {
	case mode.IsDir():
		return x.dir(e.Name)
	case mode&fs.ModeSymlink != 0:
		r, err := e.Open()
		if err != nil {
			return fmt.Errorf("%q: %w", e.Name, err)
		}
		defer r.Close()
		target, err := io.ReadAll(io.LimitReader(r, maxLink+1))
		if err != nil {
			return fmt.Errorf("%q: %w", e.Name, err)
		}
		return x.link(e.Name, string(target))
	case mode.IsRegular():
		r, err := e.Open()
		if err != nil {
			return fmt.Errorf("%q: %w", e.Name, err)
		}
		defer r.Close()
		perm := mode.Perm()
		if perm&0o700 == 0 { // made where files have no modes
			perm = 0o744
		}
		return x.file(e.Name, r, perm, e.Modified)
	default:
		return &escapeError{e.Name, "is neither a file, a folder nor a link"}
	}
}

// extractor writes entries of an archive below one folder.
type extractor struct {
	root  *os.Root
	limit limits
	left  int64
	seen  int
	links []link
	// outside allows links that lead out of the folder: in an app's own cache
	// they may (a virtual environment has them). Nothing is written through.
	outside bool
}

type link struct{ name, target string }

func newExtractor(dir string, limit limits) (*extractor, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &extractor{root: root, limit: limit, left: limit.bytes}, nil
}

func (x *extractor) close() { _ = x.root.Close() }

// clean checks a name and returns it as a local path; "." for the root.
func (x *extractor) clean(name string) (string, error) {
	if x.seen++; x.seen > x.limit.entries {
		return "", fmt.Errorf("it has more than the %d entries that are allowed", x.limit.entries)
	}
	if path.IsAbs(name) || strings.ContainsRune(name, 0) {
		return "", &escapeError{name, "is not a name within the archive"}
	}
	local := filepath.Clean(filepath.FromSlash(name))
	if !filepath.IsLocal(local) {
		return "", &escapeError{name, "leads out of the archive"}
	}
	return local, nil
}

func (x *extractor) dir(name string) error {
	name, err := x.clean(name)
	if err != nil {
		return err
	}
	return x.root.MkdirAll(name, 0o755)
}

func (x *extractor) file(name string, r io.Reader, perm fs.FileMode, modified time.Time) error {
	name, err := x.clean(name)
	if err != nil {
		return err
	}
	if err := x.root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := x.root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(r, x.left+1))
	if err == nil {
		err = f.Chmod(perm | 0o600)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	if x.left -= n; x.left < 0 {
		return errTooLarge
	}
	if modified.IsZero() {
		return nil
	}
	return x.root.Chtimes(name, modified, modified)
}

func (x *extractor) link(name, target string) error {
	name, err := x.clean(name)
	if err != nil {
		return err
	}
	if target == "" || len(target) > maxLink {
		return &escapeError{name, "is a link without a sensible target"}
	}
	if !x.outside && (path.IsAbs(target) || !filepath.IsLocal(filepath.Join(filepath.Dir(name), target))) {
		return &escapeError{name, fmt.Sprintf("is a link to %q, which leads out of the archive", target)}
	}
	x.links = append(x.links, link{name, target})
	return nil
}

// finish makes the links. Several links together can lead out where each of
// them alone does not: so they are followed once all are there.
func (x *extractor) finish() error {
	for _, l := range x.links {
		if err := x.root.MkdirAll(filepath.Dir(l.name), 0o755); err != nil {
			return fmt.Errorf("%q: %w", l.name, err)
		}
		if err := x.root.Remove(l.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%q: %w", l.name, err)
		}
		if err := x.root.Symlink(l.target, l.name); err != nil {
			return fmt.Errorf("%q: %w", l.name, err)
		}
	}
	if x.outside {
		return nil
	}
	for _, l := range x.links {
		if _, err := x.root.Stat(l.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &escapeError{l.name, fmt.Sprintf("is a link to %q, which leads out of the archive", l.target)}
		}
	}
	return nil
}
