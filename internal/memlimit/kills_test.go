package memlimit

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReadKills(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"v2": "low 0\nhigh 0\nmax 12\noom 3\noom_kill 3\noom_group_kill 1\n",
		"v1": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if n, ok := readKills(file); n != 3 || !ok {
			t.Errorf("%s: %d, %t", name, n, ok)
		}
	}
	if _, ok := readKills(filepath.Join(dir, "none")); ok {
		t.Error("a missing file counts")
	}
}
