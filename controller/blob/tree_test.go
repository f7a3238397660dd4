package blob

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestLinksAgainstTheKernel unpacks random archives that passed, without any
// care, and asks the kernel where their links lead. Around the directory lies
// something under every name, so that an escape finds it.
func TestLinksAgainstTheKernel(t *testing.T) {
	base := t.TempDir()
	accepted, refused := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		outer, err := os.MkdirTemp(base, "")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(outer)
		dir := outer
		for _, deeper := range []string{"a", "b", "root"} {
			for _, name := range []string{"a", "b", "c"} {
				if err := os.MkdirAll(filepath.Join(dir, name, "a"), 0o755); err != nil {
					rt.Fatal(err)
				}
			}
			dir = filepath.Join(dir, deeper)
		}
		root := dir
		if err := os.MkdirAll(root, 0o755); err != nil {
			rt.Fatal(err)
		}

		path := rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 3), func(s []string) string { return strings.Join(s, "/") })
		target := rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "..", "..", "."}), 1, 5), func(s []string) string { return strings.Join(s, "/") })
		var entries []entry
		for i := range rapid.IntRange(1, 6).Draw(rt, "entries") {
			name := path.Draw(rt, fmt.Sprint("name", i))
			if rapid.Bool().Draw(rt, fmt.Sprint("link", i)) {
				entries = append(entries, link(name, target.Draw(rt, fmt.Sprint("target", i))))
			} else {
				entries = append(entries, entry{name: name, content: "x"})
			}
		}
		data := makeZip(t, entries...)
		if _, err := inspect(data, Limits{}); err != nil {
			refused++
			return
		}
		accepted++
		unpack(rt, data, root)
		err = filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			target, err := filepath.EvalSymlinks(p)
			if err != nil {
				return nil //nolint:nilerr // leads nowhere, or round in a circle
			}
			if target != root && !strings.HasPrefix(target, root+"/") {
				rt.Errorf("%s leads to %s, out of %s; entries %v", p, target, root, entries)
			}
			return nil
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
	if accepted == 0 || refused == 0 {
		t.Errorf("%d accepted, %d refused: the test tests nothing", accepted, refused)
	}
}

func unpack(rt *rapid.T, data []byte, root string) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		rt.Fatal(err)
	}
	for _, f := range z.File {
		to := filepath.Join(root, f.Name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			rt.Fatal(err)
		}
		if f.Mode()&fs.ModeSymlink == 0 {
			err = os.WriteFile(to, nil, 0o644)
		} else {
			var target string
			if target, err = readLink(f); err == nil {
				err = os.Symlink(target, to)
			}
		}
		if err != nil {
			rt.Fatal(err)
		}
	}
}
