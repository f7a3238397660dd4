package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// unpack extracts a droplet, a tar that gzip may have packed, below a
// directory. It runs as the app's user. An entry whose name leads out of the
// directory is refused; a symbolic link may point anywhere, but nothing is
// written through one that leads out. The directories that an app may count
// on are made when the droplet has none.
func unpack(from io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	plain, err := plainTar(from)
	if err != nil {
		return err
	}
	archive := tar.NewReader(plain)
	modes := map[string]fs.FileMode{} // of directories, set when they are full
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		name := path.Clean(strings.TrimSuffix(h.Name, "/"))
		if name == "." {
			continue
		}
		if err := extract(root, name, h, archive, modes); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
	for _, name := range []string{"app", "deps", "logs", "tmp"} {
		if err := root.MkdirAll(name, 0o755); err != nil {
			return err
		}
	}
	for name, mode := range modes {
		if err := root.Chmod(name, mode); err != nil {
			return err
		}
	}
	_, err = io.Copy(io.Discard, plain) // the end of the compressed stream has a checksum
	return err
}

// plainTar looks whether the stream is compressed.
func plainTar(from io.Reader) (io.Reader, error) {
	buffered := bufio.NewReaderSize(from, 256<<10)
	head, err := buffered.Peek(2)
	if err != nil {
		return nil, fmt.Errorf("no droplet: %w", err)
	}
	if !bytes.Equal(head, []byte{0x1f, 0x8b}) {
		return buffered, nil
	}
	return gzip.NewReader(buffered)
}

func extract(root *os.Root, name string, h *tar.Header, content io.Reader, modes map[string]fs.FileMode) error {
	if path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") {
		return errors.New("leads out of the droplet")
	}
	mode := fs.FileMode(h.Mode).Perm()
	if h.Typeflag == tar.TypeDir {
		modes[name] = mode
		return root.MkdirAll(name, 0o755)
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	// A later entry replaces an earlier one, as tar does.
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg:
		// The droplet's times: an ETag made from them is the same on all
		// instances.
		return errors.Join(writeFile(root, name, mode, content), root.Chtimes(name, h.ModTime, h.ModTime))
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		return root.Link(path.Clean(h.Linkname), name)
	}
	return fmt.Errorf("is of type %q: only files, directories and links can be in a droplet", h.Typeflag)
}

func writeFile(root *os.Root, name string, mode fs.FileMode, content io.Reader) error {
	file, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.Copy(file, content); err != nil {
		return err
	}
	return errors.Join(file.Chmod(mode), file.Close())
}
