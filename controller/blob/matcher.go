package blob

import (
	"archive/zip"
	"context"
	"errors"
	"io"
	"strings"
)

// matcher copies files out of older packages. It keeps those open that it
// used.
type matcher struct {
	p    *Packages
	open map[string]*source // by digest
}

// source is an open package.
type source struct {
	files map[string]*zip.File // by written name
	close func()
}

// maxSources bounds the older packages that one package draws from.
const maxSources = 64

func (m *matcher) close() {
	for _, s := range m.open {
		s.close()
	}
}

// copyMatched appends the resources to z. It returns the sums that the result
// must have, by path.
func (m *matcher) copyMatched(ctx context.Context, spaces []string, resources []Resource, z *zip.Writer) (map[string]string, error) {
	var sums []string
	for _, r := range resources {
		sums = append(sums, strings.ToLower(r.Checksum.Value))
	}
	places, err := m.p.places(ctx, spaces, sums)
	if err != nil {
		return nil, err
	}
	byPath := make(map[string]string, len(resources))
	for _, r := range resources {
		sum := strings.ToLower(r.Checksum.Value)
		place, ok := places[sum]
		if !ok || place.Size != r.Size {
			return nil, invalid(r.Path, "the file is not in the cache of the space any more: push again")
		}
		name, err := m.copy(ctx, r, place, z)
		if err != nil {
			return nil, err
		}
		byPath[name] = sum
	}
	return byPath, nil
}

// copy appends one resource and returns its name in z.
func (m *matcher) copy(ctx context.Context, r Resource, place Place, z *zip.Writer) (string, error) {
	name, err := r.clean()
	if err != nil {
		return "", err
	}
	mode, err := r.mode()
	if err != nil {
		return "", err
	}
	s, err := m.source(ctx, place.Package)
	if err != nil {
		return "", err
	}
	f, ok := s.files[place.Path]
	if !ok {
		return "", invalid(r.Path, "the file is not in the cache of the space any more: push again")
	}
	h := f.FileHeader
	h.Name = name
	h.SetMode(mode)
	return name, copyEntry(z, f, h)
}

func (m *matcher) source(ctx context.Context, digest string) (*source, error) {
	if s, ok := m.open[digest]; ok {
		return s, nil
	}
	if len(m.open) >= maxSources {
		return nil, invalid("", "the resources come from more than %d older packages: push without the cache", maxSources)
	}
	r, size, closeAll, err := openAt(ctx, m.p.store, digest)
	if err != nil {
		return nil, err
	}
	z, err := zip.NewReader(r, size)
	if err != nil {
		closeAll()
		return nil, errors.Join(corrupt(digest), err)
	}
	s := &source{files: make(map[string]*zip.File, len(z.File)), close: closeAll}
	for _, f := range z.File {
		s.files[f.Name] = f
	}
	m.open[digest] = s
	return s, nil
}

// openAt opens a blob for reading at any place; one that can only be streamed
// is staged first.
func openAt(ctx context.Context, store Store, digest string) (io.ReaderAt, int64, func(), error) {
	r, size, err := store.Open(ctx, digest)
	if err != nil {
		return nil, 0, nil, err
	}
	if at, ok := r.(io.ReaderAt); ok {
		return at, size, func() { r.Close() }, nil
	}
	defer r.Close()
	st, err := store.Stage(ctx, Unlimited)
	if err != nil {
		return nil, 0, nil, err
	}
	if _, err := st.ReadFrom(r); err != nil {
		st.Discard()
		return nil, 0, nil, err
	}
	return st, st.Size(), st.Discard, nil
}
