package supervise

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRotateKeepsWriterAndBounds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range 5 {
		fmt.Fprintf(f, "round %d %s\n", i, strings.Repeat("x", 100))
		if err := rotate(path, 50, 2); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprintln(f, "after") // through the descriptor of before
	got := map[string]string{}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(path), e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name()] = strings.ReplaceAll(string(b), strings.Repeat("x", 100), "x")
	}
	want := map[string]string{"log": "after\n", "log.1": "round 4 x\n", "log.2": "round 3 x\n"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var b strings.Builder
	for i := range 30 {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	b.WriteString("\n" + strings.Repeat("y", 400) + "\nno newline")
	text := b.String()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := tail(path, 0)
	if len(got) != tailLines || got[tailLines-1] != "no newline" || got[0] != "line 22" ||
		len(got[tailLines-2]) > lineBytes+len("…") {
		t.Errorf("tail = %q", got)
	}
	if diff := cmp.Diff([]string{"no newline"}, tail(path, int64(len(text)-len("no newline")))); diff != "" {
		t.Errorf("from an offset: %s", diff)
	}
	if got := tail(path, 1<<20); len(got) != tailLines {
		t.Errorf("after a rotation: %q", got)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("z", 3*tailBytes)+"\nlast\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"last"}, tail(path, 0)); diff != "" {
		t.Errorf("torn line: %s", diff)
	}
	if got := tail(path+"x", 0); got != nil {
		t.Errorf("missing file: %q", got)
	}
}
