package lifecycle

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// madeHere is the time of files that were made during a build, so that the same
// package gives the same droplet: the first one that zip archives can hold.
// What has an older time than the build came with its content and keeps it.
var madeHere = time.Unix(315532801, 0) // 1980-01-01 00:00:01 UTC

// owner of everything in a droplet.
const (
	ownerID   = 2000
	ownerName = "vcap"
)

// writeTar writes the named entries of a folder as tar.gz, deterministically:
// sorted, without times and owners of this machine. Sockets, pipes and devices
// are left out.
func writeTar(ctx context.Context, w io.Writer, dir string, names []string, started time.Time) error {
	zipped, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	out := tar.NewWriter(zipped)
	t := &tarWriter{out: out, dir: dir, started: started}
	for _, name := range names {
		err := filepath.WalkDir(filepath.Join(dir, name), func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			return t.add(p, d)
		})
		if err != nil {
			return err
		}
	}
	return errors.Join(out.Close(), zipped.Close())
}

type tarWriter struct {
	out     *tar.Writer
	dir     string
	started time.Time
}

func (t *tarWriter) add(p string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(t.dir, p)
	if err != nil {
		return err
	}
	h := &tar.Header{
		Name: "./" + filepath.ToSlash(rel), Mode: int64(info.Mode().Perm()), ModTime: t.stamp(info),
		Uid: ownerID, Gid: ownerID, Uname: ownerName, Gname: ownerName,
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		h.Typeflag, h.Name, h.Mode = tar.TypeDir, h.Name+"/", h.Mode|0o700
		h.ModTime = madeHere // it says when somebody unpacked
		return t.out.WriteHeader(h)
	case mode&fs.ModeSymlink != 0:
		h.Typeflag, h.Mode, h.ModTime = tar.TypeSymlink, 0o777, madeHere
		if h.Linkname, err = os.Readlink(p); err != nil {
			return err
		}
		return t.out.WriteHeader(h)
	case mode.IsRegular():
		h.Typeflag, h.Size = tar.TypeReg, info.Size()
		return t.copy(p, h)
	}
	return nil
}

func (t *tarWriter) stamp(info fs.FileInfo) time.Time {
	if at := info.ModTime(); at.Before(t.started) && at.Unix() >= 0 {
		return at.Truncate(time.Second)
	}
	return madeHere
}

func (t *tarWriter) copy(p string, h *tar.Header) error {
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := t.out.WriteHeader(h); err != nil {
		return err
	}
	// A process that the build left behind may still write: not beyond Size.
	if _, err := io.CopyN(t.out, f, h.Size); err != nil {
		return fmt.Errorf("%s changed while it was packed: %w", h.Name, err)
	}
	return nil
}

// untar unpacks a tar.gz that writeTar made. It refuses what unzip refuses,
// but for links, which may lead anywhere: nothing is written through them.
func untar(ctx context.Context, r io.Reader, dir string, limit limits) error {
	zipped, err := gzip.NewReader(r)
	if err != nil {
		return err
	}
	defer zipped.Close()
	x, err := newExtractor(dir, limit)
	if err != nil {
		return err
	}
	defer x.close()
	x.outside = true
	in := tar.NewReader(zipped)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return x.finish()
		}
		if err != nil {
			return err
		}
		if err := x.tarEntry(in, h); err != nil {
			return err
		}
	}
}

func (x *extractor) tarEntry(in io.Reader, h *tar.Header) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return x.dir(h.Name)
	case tar.TypeSymlink:
		return x.link(h.Name, h.Linkname)
	case tar.TypeReg:
		return x.file(h.Name, in, fs.FileMode(h.Mode).Perm(), h.ModTime)
	default:
		return &escapeError{h.Name, "is neither a file, a folder nor a link"}
	}
}
