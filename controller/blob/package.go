package blob

import (
	"archive/zip"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
)

// Place says where the content of a file is kept: an entry of a package's zip.
type Place struct {
	Package string // digest
	Path    string // of the entry, as written in the zip
	Size    int64  // bytes
}

// Index remembers the large files of packages, by space.
type Index interface {
	// Find returns the places of those sums that are known in one of the
	// spaces.
	Find(ctx context.Context, spaces, sums []string) (map[string]Place, error)
	// Record remembers the files of a package that was stored.
	Record(ctx context.Context, space, digest string, files []File) error
}

// maxRecorded bounds the files of one package that are remembered: the largest.
const maxRecorded = 1000

// Packages makes packages out of uploads. It is safe for concurrent use.
type Packages struct {
	store  Store
	index  Index
	limits Limits
	slots  chan struct{} // inspections at a time: each takes a processor and a directory's memory
}

// NewPackages returns a Packages over a store and an index.
func NewPackages(store Store, index Index, limits Limits) *Packages {
	return &Packages{store, index, limits.withDefaults(), make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// Match returns those of the files that need not be uploaded again by who may
// read the spaces' packages: the request does not say for which space they are.
func (p *Packages) Match(ctx context.Context, spaces []string, want []Resource) ([]Resource, error) {
	if len(want) > p.limits.Resources {
		return nil, invalid("", "%d resources are named, %d are allowed", len(want), p.limits.Resources)
	}
	var sums []string
	for _, r := range want {
		if r.matchable() {
			sums = append(sums, strings.ToLower(r.Checksum.Value))
		}
	}
	places, err := p.places(ctx, spaces, sums)
	if err != nil {
		return nil, err
	}
	known := []Resource{}
	for _, r := range want {
		if place, ok := places[strings.ToLower(r.Checksum.Value)]; ok && place.Size == r.Size {
			known = append(known, r)
		}
	}
	return known, nil
}

// places finds sums whose package is still there.
func (p *Packages) places(ctx context.Context, spaces, sums []string) (map[string]Place, error) {
	if len(sums) == 0 || len(spaces) == 0 {
		return nil, nil
	}
	places, err := p.index.Find(ctx, spaces, sums)
	if err != nil {
		return nil, err
	}
	there := map[string]bool{}
	for sum, place := range places {
		ok, asked := there[place.Package]
		if !asked {
			_, err := p.store.Stat(ctx, place.Package)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return nil, err
			}
			ok = err == nil
			there[place.Package] = ok
		}
		if !ok {
			delete(places, sum)
		}
	}
	return places, nil
}

// Add makes a package of an upload, stores it and remembers its large files
// for the first of the spaces. Files that were matched come from any of them.
// The upload is used up, with an error too. What is wrong with the upload is
// an *[InvalidError] or [ErrTooLarge]; then nothing is left behind.
func (p *Packages) Add(ctx context.Context, spaces []string, up *Upload) (Blob, error) {
	defer up.Discard()
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return Blob{}, context.Cause(ctx)
	}
	content, files, err := p.build(ctx, spaces, up)
	if err != nil {
		return Blob{}, err
	}
	defer content.Discard()
	b, err := p.store.Commit(ctx, content)
	if err != nil {
		return Blob{}, err
	}
	if len(files) > maxRecorded {
		slices.SortFunc(files, func(a, b File) int { return cmp.Compare(b.Size, a.Size) })
		files = files[:maxRecorded]
	}
	if len(files) == 0 || len(spaces) == 0 {
		return b, nil
	}
	return b, p.index.Record(ctx, spaces[0], b.Digest, files)
}

// build returns the checked content of the package.
func (p *Packages) build(ctx context.Context, spaces []string, up *Upload) (*Staged, []File, error) {
	switch {
	case len(up.Resources) > 0:
		return p.assemble(ctx, spaces, up)
	case up.Bits == nil:
		return nil, nil, invalid("", "the upload has neither bits nor resources")
	}
	files, err := Inspect(ctx, up.Bits, up.Bits.Size(), p.limits)
	return up.Bits, files, err
}

// assemble makes one zip of what was uploaded and what was matched. Entries
// are copied as they are, compressed; then the whole is inspected.
func (p *Packages) assemble(ctx context.Context, spaces []string, up *Upload) (*Staged, []File, error) {
	if len(up.Resources) > p.limits.Resources {
		return nil, nil, invalid("", "%d resources are named, %d are allowed", len(up.Resources), p.limits.Resources)
	}
	out, err := p.store.Stage(ctx, p.limits.Size)
	if err != nil {
		return nil, nil, err
	}
	files, err := p.fill(ctx, spaces, up, out)
	if err != nil {
		out.Discard()
		return nil, nil, err
	}
	return out, files, nil
}

func (p *Packages) fill(ctx context.Context, spaces []string, up *Upload, out *Staged) ([]File, error) {
	z := zip.NewWriter(out)
	if up.Bits != nil {
		if err := p.copyBits(up.Bits, z); err != nil {
			return nil, err
		}
	}
	m := &matcher{p: p, open: map[string]*source{}}
	defer m.close()
	sums, err := m.copyMatched(ctx, spaces, up.Resources, z)
	if err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	files, err := Inspect(ctx, out, out.Size(), p.limits)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if want, ok := sums[f.Path]; ok && want != f.SHA1 {
			return nil, fmt.Errorf("the stored content of %s: %w", shown(f.Path), ErrCorrupt)
		}
	}
	return files, nil
}

func (p *Packages) copyBits(bits *Staged, z *zip.Writer) error {
	a, err := openArchive(bits, bits.Size(), p.limits)
	if err != nil {
		return err
	}
	for _, f := range append(a.dirs, a.files...) {
		if err := copyEntry(z, f, f.FileHeader); err != nil {
			return err
		}
	}
	return nil
}

// copyEntry copies the compressed content of f under another header.
func copyEntry(z *zip.Writer, f *zip.File, h zip.FileHeader) error {
	r, err := f.OpenRaw()
	if err != nil {
		return invalid(f.Name, "the entry is damaged: %v", err)
	}
	h.Flags &^= flagDescriptor // the sizes are known
	h.Extra = nil
	w, err := z.CreateRaw(&h)
	if err != nil {
		return invalid(f.Name, "the entry cannot be copied: %v", err)
	}
	_, err = io.Copy(w, r)
	return err
}
