package fence

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// held is what a container takes of the node's disk.
type held struct {
	bytes int64 // of blocks, as du counts: neither holes of files nor what lies behind their end hides
	files int64 // names in folders, and files without a name that are open
	// beyond says why the rest was not looked at, "" if all was.
	beyond string
}

// Bounds of what is counted: who makes more is over its limit, whatever it
// holds.
const (
	// bytesPerFile makes a limit of files out of one of bytes. File systems are
	// made with an inode for each 16 KiB, so a node whose disk limits add up
	// to half of its disk cannot run out of inodes first; real apps, node_modules
	// included, have larger files.
	bytesPerFile = 8 << 10
	// minFiles is what every container may have, however small its disk.
	minFiles = 100_000
	// maxDepth of folders. Each one on the way is open while it is looked at, and
	// what is deeper than a path can be long would be out of sight of other
	// tools: paths have 4096 bytes.
	maxDepth = 500
	// maxOpenFiles bounds how many open files of a container are looked at.
	maxOpenFiles = 400_000
)

// walk adds up a folder that belongs to somebody who may change it meanwhile:
// no link is followed, nothing but folders is opened.
type walk struct {
	held
	max int64 // files
}

// errBeyond ends a walk whose held.beyond says why.
var errBeyond = errors.New("there is more than is looked at")

// walkLayer measures a container's own layer.
func walkLayer(ctx context.Context, dir string, maxFiles int64) (held, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return held{}, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	w := walk{max: maxFiles}
	err = w.folder(ctx, os.NewFile(uintptr(fd), dir), 0)
	if errors.Is(err, errBeyond) {
		err = nil
	}
	return w.held, err
}

// folder adds up what is in a folder, and closes it.
func (w *walk) folder(ctx context.Context, dir *os.File, depth int) error {
	defer dir.Close()
	if depth > maxDepth {
		w.beyond = fmt.Sprintf("folders more than %d deep", maxDepth)
		return errBeyond
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		names, err := dir.Readdirnames(512)
		for _, name := range names {
			if err := w.name(ctx, dir, name, depth); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil {
			return err
		}
	}
}

func (w *walk) name(ctx context.Context, dir *os.File, name string, depth int) error {
	if w.files++; w.files > w.max {
		w.beyond = fmt.Sprintf("more than %d files", w.max)
		return errBeyond
	}
	fd := int(dir.Fd()) //nolint:gosec // a descriptor
	var s unix.Stat_t
	if err := unix.Fstatat(fd, name, &s, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil //nolint:nilerr // gone by now
	}
	if s.Mode&unix.S_IFMT != unix.S_IFDIR {
		// All names of a file are in the layer: together they are it once, and
		// nobody has to remember a million of them.
		w.bytes += s.Blocks * 512 / max(1, int64(s.Nlink)) //nolint:gosec // 65,000 at most
		return nil
	}
	w.bytes += s.Blocks * 512
	sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM):
		return err
	case err != nil:
		return nil //nolint:nilerr // gone, or something else by now
	}
	return w.folder(ctx, os.NewFile(uintptr(sub), name), depth+1)
}
