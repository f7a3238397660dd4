package blob

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
)

// archive is a zip whose structure was checked: names, kinds, sizes, overlaps.
// Its contents were not read yet.
type archive struct {
	files []*zip.File // regular files and links
	names []string    // clean names of files
	dirs  []*zip.File
	tree  *tree
}

const (
	flagEncrypted  = 1
	flagDescriptor = 8
)

// openArchive reads the directory of a zip and checks what can be known from
// it. Every error about the zip is an *InvalidError.
func openArchive(r io.ReaderAt, size int64, l Limits) (*archive, error) {
	if size > l.Size {
		return nil, fmt.Errorf("the archive has %d bytes, %d are allowed: %w", size, l.Size, ErrTooLarge)
	}
	guard := &directoryGuard{r: r, limits: l}
	z, err := zip.NewReader(guard, size)
	if err != nil && guard.err != nil {
		return nil, guard.err
	}
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // paths are checked below
		return nil, invalid("", "this is no zip archive: %v", err)
	}
	guard.done = true
	if len(z.File) > l.Entries {
		return nil, tooManyEntries(l.Entries)
	}
	a := &archive{tree: newTree()}
	for _, f := range z.File {
		if err := a.add(f); err != nil {
			return nil, err
		}
	}
	if err := a.checkSizes(size, l); err != nil {
		return nil, err
	}
	if err := a.checkOverlaps(); err != nil {
		return nil, err
	}
	return a, a.tree.check()
}

func tooManyEntries(limit int) error {
	return invalid("", "the archive has more than %d entries", limit)
}

func (a *archive) add(f *zip.File) error {
	name, err := cleanPath(f.Name)
	if err != nil {
		return err
	}
	switch {
	case f.Flags&flagEncrypted != 0:
		return invalid(f.Name, "the entry is encrypted")
	case f.Method != zip.Store && f.Method != zip.Deflate:
		return invalid(f.Name, "compression method %d is not supported, only deflate is", f.Method)
	}
	mode := f.Mode()
	switch mode.Type() {
	case fs.ModeDir:
		a.dirs = append(a.dirs, f)
		if name == "." {
			return nil
		}
		return a.tree.add(name, kindDir)
	case 0, fs.ModeSymlink:
		if name == "." {
			return invalid(f.Name, "the entry has no name")
		}
		kind := kindFile
		if mode.Type() != 0 {
			kind = kindLink
		}
		a.files = append(a.files, f)
		a.names = append(a.names, name)
		return a.tree.add(name, kind)
	}
	return invalid(f.Name, "the entry is neither a file nor a directory nor a symbolic link")
}

func (a *archive) checkSizes(packed int64, l Limits) error {
	var total uint64
	for _, f := range a.files {
		if f.UncompressedSize64 > uint64(l.Unpacked) || total+f.UncompressedSize64 > uint64(l.Unpacked) {
			return invalid("", "the files have more than %d MiB when unpacked", l.Unpacked>>20)
		}
		total += f.UncompressedSize64
		if f.Method == zip.Store && f.CompressedSize64 != f.UncompressedSize64 {
			return invalid(f.Name, "its two sizes differ, though it is not compressed")
		}
	}
	if int64(total) > l.RatioFrom && int64(total) > packed*l.Ratio {
		return invalid("", "%d bytes unpack to %d: this looks like a zip bomb", packed, total)
	}
	return nil
}

// checkOverlaps refuses entries that share bytes: so little data can be made
// to unpack to much.
func (a *archive) checkOverlaps() error {
	type span struct {
		from, to int64
		name     string
	}
	spans := make([]span, 0, len(a.files))
	for _, f := range a.files {
		from, err := f.DataOffset()
		if err != nil {
			return invalid(f.Name, "the entry's header is damaged: %v", err)
		}
		if f.CompressedSize64 > 0 {
			spans = append(spans, span{from, from + int64(f.CompressedSize64), f.Name})
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return int(min(max(a.from-b.from, -1), 1)) })
	for i := 1; i < len(spans); i++ {
		if spans[i].from < spans[i-1].to {
			return invalid(spans[i].name, "its data overlap those of %s: this looks like a zip bomb", shown(spans[i-1].name))
		}
	}
	return nil
}

// seenTwice is how many entries may be read twice, while the end of the
// directory is looked for; the exact limit is held afterwards.
const seenTwice = 2 * 66_000 / 46

// directoryGuard stops the reading of a zip's directory when that would fill
// the memory: the standard library holds every entry.
type directoryGuard struct {
	r       io.ReaderAt
	limits  Limits
	bytes   int64 // read so far
	entries int   // seen so far
	done    bool  // the directory is read
	err     error
}

var directoryHeader = []byte("PK\x01\x02")

func (g *directoryGuard) ReadAt(p []byte, off int64) (int, error) {
	n, err := g.r.ReadAt(p, off)
	if g.done {
		return n, err
	}
	// A header that is cut by the end of a read is not counted: a few.
	g.entries += bytes.Count(p[:n], directoryHeader)
	g.bytes += int64(n)
	switch {
	case g.err != nil:
	case g.entries > g.limits.Entries+seenTwice:
		g.err = tooManyEntries(g.limits.Entries)
	case g.bytes > g.limits.Directory:
		g.err = invalid("", "the archive's list of entries is too long")
	}
	if g.err != nil {
		return 0, g.err
	}
	return n, err
}
