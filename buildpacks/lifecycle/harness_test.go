package lifecycle

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stackato/stackato/wire/staging"
)

// entry is a file of a test's archive. A name that ends in a slash is a folder.
type entry struct {
	name, body string
	mode       fs.FileMode
}

// zipOf makes a zip in a file.
func zipOf(t *testing.T, entries ...entry) *os.File {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: time.Unix(1_600_000_000, 0)}
		if e.mode != 0 {
			h.SetMode(e.mode)
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return fileOf(t, buf.Bytes())
}

// fileOf returns an open file with that content.
func fileOf(t *testing.T, content []byte) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return f
}

// trial is a build in temporary folders, with what it wrote.
type trial struct {
	*Build
	log, droplet, cache bytes.Buffer
}

func newTrial(t *testing.T, pkg *os.File, packs ...staging.Buildpack) *trial {
	t.Helper()
	tr := &trial{Build: &Build{
		Spec: staging.Spec{
			BuildGUID: "b1", AppGUID: "a1", AppName: "shop", Stack: "cflinuxfs4", Buildpacks: packs,
			MemoryMB: 512, DiskMB: 64, Env: map[string]string{"COLOUR": "green"},
		},
		Package: pkg, Home: t.TempDir(), Temp: t.TempDir(),
	}}
	tr.Log, tr.Droplet, tr.CacheOut = &tr.log, &tr.droplet, &tr.cache
	return tr
}

// withPack adds an uploaded buildpack made of scripts in bin/.
func (tr *trial) withPack(t *testing.T, name string, scripts map[string]string) {
	t.Helper()
	var entries []entry
	for script, body := range scripts {
		entries = append(entries, entry{"bin/" + script, "#!/bin/bash\nset -e\n" + body + "\n", 0o755})
	}
	for len(tr.Buildpacks) < len(tr.Spec.Buildpacks) {
		tr.Buildpacks = append(tr.Buildpacks, nil)
	}
	tr.Spec.Buildpacks = append(tr.Spec.Buildpacks, staging.Buildpack{Name: name})
	tr.Buildpacks = append(tr.Buildpacks, zipOf(t, entries...))
}

// mustRun stages and fails the test if that fails.
func (tr *trial) mustRun(t *testing.T) staging.Result {
	t.Helper()
	result, err := tr.Run(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, tr.log.String())
	}
	return result
}

// failsWith stages and returns the failure, which must have that code.
func (tr *trial) failsWith(t *testing.T, code string) *BuildError {
	t.Helper()
	_, err := tr.Run(t.Context())
	var f *BuildError
	if !errors.As(err, &f) || f.Code() != code {
		t.Fatalf("error %v, want one with code %s\n%s", err, code, tr.log.String())
	}
	return f
}

// unpacked returns the files of a tar.gz by name: a file's content, "/" for a
// folder, "-> target" for a link.
func unpacked(t *testing.T, raw []byte) map[string]string {
	t.Helper()
	zipped, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	in := tar.NewReader(zipped)
	out := map[string]string{}
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != ownerID || h.Gid != ownerID {
			t.Errorf("%s belongs to %d:%d", h.Name, h.Uid, h.Gid)
		}
		switch h.Typeflag {
		case tar.TypeDir:
			out[h.Name] = "/"
		case tar.TypeSymlink:
			out[h.Name] = "-> " + h.Linkname
		default:
			body, err := io.ReadAll(in)
			if err != nil {
				t.Fatal(err)
			}
			out[h.Name] = string(body)
		}
	}
}

func readString(t *testing.T, elem ...string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
