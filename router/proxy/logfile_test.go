package proxy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/router/proxy"
)

func TestLogFileIsSetAside(t *testing.T) {
	dir := t.TempDir()
	f := proxy.NewLogFile(filepath.Join(dir, "access.log"), 20, 2)
	for i := range 8 {
		if err := f.WriteLine(fmt.Appendf(nil, "line %d...", i)); err != nil {
			t.Fatal(err)
		}
		if i == 5 { // a restart in between goes on where it was
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, _ := os.ReadFile(filepath.Join(dir, e.Name()))
		got[e.Name()] = strings.ReplaceAll(strings.TrimSpace(string(data)), "\n", " ")
	}
	want := map[string]string{
		"access.log": "line 6... line 7...", "access.log.1": "line 4... line 5...", "access.log.2": "line 2... line 3...",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLogFileComesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	f := proxy.NewLogFile(filepath.Join(dir, "access.log"), 1000, 1)
	if err := f.WriteLine([]byte("lost")); err == nil {
		t.Error("no error without a directory")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteLine([]byte("kept")); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if data, _ := os.ReadFile(filepath.Join(dir, "access.log")); string(data) != "kept\n" {
		t.Errorf("got %q", data)
	}
}
