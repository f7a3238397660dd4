package fence

import (
	"os"
	"path/filepath"
	"testing"
)

// TestRaiseLimits: what is low is raised, what is high stays, what is not
// there is no error.
func TestRaiseLimits(t *testing.T) {
	sys := t.TempDir()
	write := func(name, value string) {
		t.Helper()
		path := filepath.Join(sys, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("kernel/pid_max", "32768\n")
	write("fs/inotify/max_user_instances", "99999\n")
	if err := RaiseLimits(sys); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"kernel/pid_max": "4194304", "fs/inotify/max_user_instances": "99999\n"} {
		if got, err := os.ReadFile(filepath.Join(sys, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	write("fs/inotify/max_user_watches", "many\n")
	if err := RaiseLimits(sys); err == nil {
		t.Error("what cannot be read is no error")
	}
}
