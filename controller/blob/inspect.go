package blob

import (
	"archive/zip"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
)

// MatchFrom is the least size of a file, in bytes, that is remembered for
// later packages, as in Cloud Foundry: smaller ones are uploaded faster than
// asked for.
const MatchFrom = 64 << 10

// File is a large file of a package.
type File struct {
	SHA1 string `json:"sha1"`
	Size int64  `json:"size"` // bytes
	Path string `json:"path"` // as the package's zip writes it
}

// Inspect reads a whole zip and checks that it can be unpacked without harm:
// it is within the limits, not encrypted, not damaged, no path or link leaves
// its directory, no name occurs twice. It returns the files of at least
// [MatchFrom] bytes. What is wrong with the zip is an *[InvalidError] or
// [ErrTooLarge].
func Inspect(ctx context.Context, r io.ReaderAt, size int64, l Limits) ([]File, error) {
	a, err := openArchive(r, size, l.withDefaults())
	if err != nil {
		return nil, err
	}
	return a.read(ctx)
}

// read reads every file.
func (a *archive) read(ctx context.Context) ([]File, error) {
	var large []File
	sum := sha1.New()
	buf := make([]byte, copyBuffer)
	for i, f := range a.files {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		if f.Mode()&fs.ModeSymlink != 0 {
			target, err := readLink(f)
			if err != nil {
				return nil, err
			}
			a.tree.links[a.names[i]] = target
			continue
		}
		w := io.Writer(struct{ io.Writer }{io.Discard}) // without ReadFrom, so that buf is used
		keep := f.UncompressedSize64 >= MatchFrom
		if keep {
			sum.Reset()
			w = sum
		}
		if err := readEntry(ctx, f, w, buf); err != nil {
			return nil, err
		}
		if keep {
			large = append(large, File{SHA1: hex.EncodeToString(sum.Sum(nil)), Size: int64(f.UncompressedSize64), Path: f.Name})
		}
	}
	return large, a.tree.checkLinks()
}

func readLink(f *zip.File) (string, error) {
	if f.UncompressedSize64 > maxPath {
		return "", invalid(f.Name, "the symbolic link's target has more than %d bytes", maxPath)
	}
	var target bytesWriter
	if err := readEntry(context.Background(), f, &target, make([]byte, maxPath)); err != nil {
		return "", err
	}
	return string(target), nil
}

type bytesWriter []byte

func (b *bytesWriter) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

func readEntry(ctx context.Context, f *zip.File, w io.Writer, buf []byte) error {
	r, err := f.Open()
	if err != nil {
		return invalid(f.Name, "the entry is damaged: %v", err)
	}
	defer r.Close()
	if _, err := io.CopyBuffer(w, contextReader{ctx, r}, buf); err != nil {
		var pathErr *fs.PathError // of our own disk
		if ctx.Err() != nil || errors.As(err, &pathErr) {
			return err
		}
		return invalid(f.Name, "the entry is damaged: %v", err)
	}
	return nil
}

// contextReader stops reading when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
