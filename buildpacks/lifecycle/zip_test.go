package lifecycle

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var ample = limits{bytes: 1 << 20, entries: 100}

func TestUnzipKeepsModesAndTimes(t *testing.T) {
	dir := t.TempDir()
	f := zipOf(t,
		entry{"bin/run", "x", 0o755}, entry{"plain", "y", 0o600}, entry{"none", "z", 0},
		entry{"setuid", "", 0o755 | fs.ModeSetuid}, entry{"link", "bin/run", fs.ModeSymlink | 0o777},
		entry{"dangling", "bin/later", fs.ModeSymlink | 0o777},
	)
	if err := unzip(t.Context(), f, dir, ample); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"bin/run": 0o755, "plain": 0o600, "setuid": 0o755, "bin": fs.ModeDir | 0o755} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: mode %v, want %v (%v)", name, info.Mode(), want, err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "plain")); err != nil || !info.ModTime().Equal(time.Unix(1_600_000_000, 0)) {
		t.Errorf("time %v (%v)", info.ModTime(), err)
	}
	if got := readString(t, dir, "link"); got != "x" {
		t.Errorf("through the link: %q", got)
	}
}

func TestUnzipRefuses(t *testing.T) {
	symlink := fs.ModeSymlink | 0o777
	tests := []struct {
		name    string
		entries []entry
		limit   limits
		say     string
	}{
		{"parent", []entry{{"../x", "", 0o644}}, ample, "leads out"},
		{"parent within", []entry{{"a/../../x", "", 0o644}}, ample, "leads out"},
		{"absolute", []entry{{"/etc/x", "", 0o644}}, ample, "not a name within"},
		{"absolute link", []entry{{"l", "/etc/passwd", symlink}}, ample, "leads out"},
		{"link out", []entry{{"a/l", "../../x", symlink}}, ample, "leads out"},
		{"links that lead out together", []entry{{"d/up", "..", symlink}, {"out", "d/up/../x", symlink}}, ample, "leads out"},
		{"loop", []entry{{"a", "b", symlink}, {"b", "a", symlink}}, ample, "leads out"},
		{"empty link", []entry{{"l", "", symlink}}, ample, "sensible target"},
		{"device", []entry{{"d", "", fs.ModeDevice | 0o600}}, ample, "neither"},
		{"bomb", []entry{{"big", strings.Repeat("0", 2<<20), 0o644}}, ample, "disk limit"},
		{"bomb of many", []entry{{"1", "0123456789", 0o644}, {"2", "0123456789", 0o644}}, limits{bytes: 15, entries: 100}, "disk limit"},
		{"entries", []entry{{"1", "", 0o644}, {"2", "", 0o644}, {"3", "", 0o644}}, limits{bytes: 100, entries: 2}, "3 entries"},
		{"file and folder", []entry{{"a", "", 0o644}, {"a/b", "", 0o644}}, ample, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			outer := t.TempDir()
			dir := filepath.Join(outer, "in")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			err := unzip(t.Context(), zipOf(t, tt.entries...), dir, tt.limit)
			if err == nil || !strings.Contains(err.Error(), tt.say) {
				t.Errorf("error %v, want one with %q", err, tt.say)
			}
			if left, err := os.ReadDir(outer); err != nil || len(left) != 1 {
				t.Errorf("outside of the folder: %v (%v)", left, err)
			}
		})
	}
}

// TestUnzipWritesThroughNoLink: a link comes first, then a file below it.
func TestUnzipWritesThroughNoLink(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	err := unzip(t.Context(), zipOf(t,
		entry{"d", outside, fs.ModeSymlink | 0o777}, entry{"d/x", "evil", 0o644}), dir, ample)
	var escape *escapeError
	if !errors.As(err, &escape) {
		t.Errorf("error %v", err)
	}
	if left, _ := os.ReadDir(outside); len(left) != 0 {
		t.Errorf("written: %v", left)
	}
}

func TestUnzipNoZip(t *testing.T) {
	if err := unzip(t.Context(), fileOf(t, []byte("plain text")), t.TempDir(), ample); err == nil || !strings.Contains(err.Error(), "no zip") {
		t.Error(err)
	}
}

func FuzzUnzip(f *testing.F) {
	f.Add([]byte("PK\x05\x06"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = unzip(t.Context(), fileOf(t, raw), dir, ample)
		if left, err := os.ReadDir(outer); err != nil || len(left) != 1 {
			t.Errorf("outside of the folder: %v (%v)", left, err)
		}
	})
}
