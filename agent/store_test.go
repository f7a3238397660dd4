package agent

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestWipeUnmounts holds that a node can forget its membership although its
// Nomad client has left file systems mounted.
func TestWipeUnmounts(t *testing.T) {
	cfg := DefaultConfig()
	cfg.DataDir = t.TempDir()
	s := store{cfg}
	dir := filepath.Join(cfg.DataDir, "nomad", "data", "alloc", "a1", "secrets")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("this needs root: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }) // when wipe failed
	if err := s.wipe(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(cfg.DataDir, "nomad")); !os.IsNotExist(err) {
		t.Fatalf("the directory is still there: %v", err)
	}
}
