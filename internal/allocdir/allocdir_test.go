package allocdir_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stackato/stackato/internal/allocdir"
)

func TestClose(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"alloc", "secrets"} { // no local: not every container has all
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o777); err != nil { //nolint:gosec // as Nomad makes them
			t.Fatal(err)
		}
		if os.Geteuid() == 0 {
			if err := os.Chown(dir, 65534, 65534); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 {
		if err := allocdir.Close(root); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"alloc", "secrets"} {
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if owner := info.Sys().(*syscall.Stat_t).Uid; info.Mode().Perm() != 0o700 || int(owner) != os.Geteuid() {
			t.Errorf("%s: mode %v, owner %d", name, info.Mode(), owner)
		}
	}
}

func TestCloseRefusesWhatIsNoDirectory(t *testing.T) {
	root := t.TempDir()
	if err := os.Symlink(root, filepath.Join(root, "alloc")); err != nil {
		t.Fatal(err)
	}
	if err := allocdir.Close(root); err == nil {
		t.Error("a link was taken for a mount")
	}
}
