package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type entry struct {
	name, content, link string
	kind                byte
	mode                int64
}

func archive(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: e.mode, Size: int64(len(e.content))}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, e.content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func packed(t *testing.T, plain []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(plain)
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestUnpack(t *testing.T) {
	plain := archive(
		t,
		entry{name: "./", kind: tar.TypeDir, mode: 0o700},
		entry{name: "./app/", kind: tar.TypeDir, mode: 0o555},
		entry{name: "./app/run", content: "#!", mode: 0o4755},
		entry{name: "./app/data", content: "first", mode: 0o640},
		entry{name: "./app/data", content: "second", mode: 0o600},
		entry{name: "./app/other", kind: tar.TypeLink, link: "./app/data"},
		entry{name: "./deps/0/bin/node", kind: tar.TypeSymlink, link: "/home/vcap/deps/0/node/bin/node"},
		entry{name: "./deps/0/bin/node", kind: tar.TypeSymlink, link: "../node"},
	)
	for name, droplet := range map[string][]byte{"plain": plain, "gzip": packed(t, plain)} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := unpack(bytes.NewReader(droplet), dir); err != nil {
				t.Fatal(err)
			}
			for path, want := range map[string]fs.FileMode{
				"app": fs.ModeDir | 0o555, "app/run": 0o755, "app/data": 0o600, "tmp": fs.ModeDir | 0o755, "logs": fs.ModeDir | 0o755,
				"deps/0/bin/node": fs.ModeSymlink | 0o777,
			} {
				info, err := os.Lstat(filepath.Join(dir, path))
				if err != nil || info.Mode() != want {
					t.Errorf("%s: %v, %v; want %v", path, info, err, want)
				}
			}
			if data, err := os.ReadFile(filepath.Join(dir, "app/other")); string(data) != "second" {
				t.Errorf("hard link: %q, %v", data, err)
			}
			if target, err := os.Readlink(filepath.Join(dir, "deps/0/bin/node")); target != "../node" {
				t.Errorf("link: %q, %v", target, err)
			}
		})
	}
}

// TestUnpackStaysInside: nothing is written outside, whatever the names and
// links say.
func TestUnpackStaysInside(t *testing.T) {
	outside := t.TempDir()
	whole := packed(t, archive(t, entry{name: "app/x", content: strings.Repeat("y", 1000), mode: 0o644}))
	for name, droplet := range map[string][]byte{
		"parent":      archive(t, entry{name: "../evil", content: "x", mode: 0o644}),
		"deep parent": archive(t, entry{name: "app/../../evil", content: "x", mode: 0o644}),
		"absolute":    archive(t, entry{name: outside + "/evil", content: "x", mode: 0o644}),
		"link out":    archive(t, entry{name: "app/out", kind: tar.TypeSymlink, link: outside}, entry{name: "app/out/evil", content: "x", mode: 0o644}),
		"link up":     archive(t, entry{name: "up", kind: tar.TypeSymlink, link: ".."}, entry{name: "up/evil", content: "x", mode: 0o644}),
		"hard link":   archive(t, entry{name: "app/evil", kind: tar.TypeLink, link: "../../../../../etc/passwd"}),
		"device":      archive(t, entry{name: "app/null", kind: tar.TypeChar, mode: 0o666}),
		"fifo":        archive(t, entry{name: "app/pipe", kind: tar.TypeFifo, mode: 0o666}),
		"cut":         whole[:len(whole)-6],
		"empty":       {},
		"no archive":  []byte("this is no archive at all, but long enough to be read as one by somebody who looks for a header of 512 bytes"),
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			dir := filepath.Join(parent, "home")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			err := unpack(bytes.NewReader(droplet), dir)
			if err == nil {
				t.Error("accepted")
			}
			for _, d := range []string{outside, parent} {
				if _, err := os.Lstat(filepath.Join(d, "evil")); err == nil {
					t.Error("something was written outside")
				}
			}
		})
	}
}

func FuzzUnpack(f *testing.F) {
	var t testing.T
	f.Add(archive(&t, entry{name: "./app/x", content: "y", mode: 0o644}))
	f.Add(packed(&t, archive(&t, entry{name: "a", kind: tar.TypeSymlink, link: ".."}, entry{name: "a/b", content: "y"})))
	f.Fuzz(func(t *testing.T, droplet []byte) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "home")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = unpack(io.LimitReader(bytes.NewReader(droplet), 1<<20), dir)
		if list, err := os.ReadDir(parent); err != nil || len(list) != 1 {
			t.Errorf("outside: %v, %v", list, err)
		}
	})
}
