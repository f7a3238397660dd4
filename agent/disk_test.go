package agent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
)

// ownDisk mounts a small file system on the machine's data directory.
func (m *machine) ownDisk(size string) {
	m.t.Helper()
	if os.Geteuid() != 0 {
		m.t.Skip("mounting a small disk takes root")
	}
	if err := os.MkdirAll(m.cfg.DataDir, 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", m.cfg.DataDir, "tmpfs", 0, "size="+size+",mode=755"); err != nil {
		m.t.Skipf("this machine cannot mount: %v", err)
	}
	m.t.Cleanup(func() {
		m.stop()
		if err := syscall.Unmount(m.cfg.DataDir, 0); err != nil {
			m.t.Errorf("unmount: %v", err)
		}
	})
}

// fill takes all the space that the disk has; it returns how to give it back.
func (m *machine) fill() (free func()) {
	m.t.Helper()
	path := filepath.Join(m.cfg.DataDir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	block := bytes.Repeat([]byte{1}, 4096)
	for {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			break
		} else if err != nil {
			m.t.Fatal(err)
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			m.t.Error(err)
		}
	}
}

// wantDiskFault waits until m says that its disk takes no writes and another
// one leads.
func (g *group) wantDiskFault(m *machine) {
	g.t.Helper()
	eventually(g.t, m.name+" says that its disk takes no writes", func() error {
		st, err := m.Status(m.ctx(), false)
		if err != nil {
			return err
		}
		for _, r := range st.Nodes[0].Roles {
			if r.Role == node.Controller && r.State == local.StateFailed && strings.Contains(r.Detail, "the data disk does not take writes") {
				return nil
			}
		}
		return fmt.Errorf("status %+v", st.Nodes[0].Roles)
	})
	wantError(g.t, m.Health(m.ctx()), local.CodeUnavailable, "the data disk does not take writes")
	eventually(g.t, "another one leads", func() error {
		for _, o := range g.up() {
			if o != m && o.node().role != nil && o.node().role.cons.LeadTerm() != 0 {
				return nil
			}
		}
		return errors.New("nobody does")
	})
}

// wantDiskGood waits until m takes part again.
func (g *group) wantDiskGood(m *machine) {
	g.t.Helper()
	eventually(g.t, m.name+" takes part again", func() error {
		if err := m.Health(m.ctx()); err != nil {
			return err
		}
		st, err := m.Status(m.ctx(), true)
		if err == nil && (!st.Healthy() || !st.Redundant) {
			err = fmt.Errorf("%+v", st)
		}
		return err
	})
}

// diskGroup is a cluster of three with m as Primary.
func diskGroup(t *testing.T, m *machine) *group {
	t.Helper()
	g := &group{t: t}
	m.start().initialise()
	g.machines = append(g.machines, m)
	g.add("controller")
	g.add("controller")
	g.settle()
	if g.primary() != m {
		if err := g.primary().node().role.cons.HandOver(m.ctx()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "n1 leads", func() error {
			if g.primary() != m {
				return errors.New("it does not")
			}
			return nil
		})
	}
	return g
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "n1")
	m.ownDisk("4m")
	g := diskGroup(t, m)
	w := g.write()
	w.more(5)
	free := m.fill()
	g.wantDiskFault(m)
	w.more(5)
	free()
	g.wantDiskGood(m)
	w.more(5)
	w.check(g.machines...)
	if err := m.stop(); err != nil {
		t.Errorf("Run = %v", err)
	}
	m.start()
	g.settle()
	w.check(m)
}

// TestReadOnlyDisk lets ext4 do what it does after an error of its device: it
// turns read-only under the open files.
func TestReadOnlyDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("the full disk stands for both")
	}
	t.Parallel()
	m := newMachine(t, "n1")
	disk := newImage(t, m)
	g := diskGroup(t, m)
	w := g.write()
	w.more(5)
	if out, err := exec.Command("mount", "-o", "remount,abort", m.cfg.DataDir).CombinedOutput(); err != nil {
		t.Logf("remount: %v: %s", err, out) // some kernels report the error that was asked for
	}
	if err := os.WriteFile(m.cfg.path("probe"), nil, 0o600); !errors.Is(err, syscall.EROFS) && !errors.Is(err, syscall.EIO) {
		t.Skipf("the file system did not turn read-only: %v", err)
	}
	g.wantDiskFault(m)
	w.more(5)

	// As with a real disk: stop, repair, mount, start.
	m.stop()
	disk.unmount()
	disk.mount()
	m.start()
	g.wantDiskGood(m)
	w.more(5)
	w.check(g.machines...)
}

// image is a file system in a file.
type image struct {
	t          testing.TB
	file, path string
	mounted    bool
}

// newImage mounts a file system of its own on the machine's data directory.
func newImage(t testing.TB, m *machine) *image {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a disk takes root")
	}
	i := &image{t: t, file: filepath.Join(filepath.Dir(m.cfg.DataDir), "image"), path: m.cfg.DataDir}
	if err := os.MkdirAll(i.path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(i.file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(i.file, 16<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", i.file).CombinedOutput(); err != nil {
		t.Skipf("mkfs.ext4: %v: %s", err, out)
	}
	if err := i.tryMount(); err != nil {
		t.Skipf("this machine cannot mount a loop device: %v", err)
	}
	t.Cleanup(func() {
		m.stop()
		i.unmount()
	})
	return i
}

func (i *image) tryMount() error {
	out, err := exec.Command("mount", "-o", "loop,errors=remount-ro", i.file, i.path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	i.mounted = true
	return nil
}

// mount repairs and mounts a copy: as long as a process with mounts of its own
// keeps the old file system alive, its file mounts as it was, read-only.
func (i *image) mount() {
	i.t.Helper()
	data, err := os.ReadFile(i.file)
	if err != nil {
		i.t.Fatal(err)
	}
	i.file += "-copy"
	if err := os.WriteFile(i.file, data, 0o600); err != nil {
		i.t.Fatal(err)
	}
	eventually(i.t, "the disk is good again", func() error {
		if out, err := exec.Command("e2fsck", "-p", i.file).CombinedOutput(); err != nil {
			return fmt.Errorf("e2fsck: %w: %s", err, out) // 1 means that it mended something
		}
		if err := i.tryMount(); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(i.path, "probe"), nil, 0o600); err != nil {
			i.unmount()
			return err
		}
		return nil
	})
}

func (i *image) unmount() {
	i.t.Helper()
	if !i.mounted {
		return
	}
	if err := syscall.Unmount(i.path, 0); err != nil {
		i.t.Errorf("unmount: %v", err)
	}
	i.mounted = false
}
