package inspect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stackato/stackato/agent/fence"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/supervise"
)

func TestDiskUsage(t *testing.T) {
	const gib = 1 << 30
	for name, tt := range map[string]struct {
		u    usage
		want []string
	}{
		"roomy":            {usage{size: 100 * gib, free: 50 * gib, inodes: 100, freeInodes: 90}, []string{"ok: 50.0 GiB free of 100.0 GiB (50 %)"}},
		"below 15 %":       {usage{size: 100 * gib, free: 14 * gib}, []string{"warn: 14 %"}},
		"below 2 GiB":      {usage{size: 4 * gib, free: gib}, []string{"warn: 1.0 GiB free"}},
		"below 5 %":        {usage{size: 100 * gib, free: 4 * gib}, []string{"fail: 4 %"}},
		"below 512 MiB":    {usage{size: 2 * gib, free: 400 << 20}, []string{"fail: 400 MiB free"}},
		"full":             {usage{size: 100 * gib}, []string{"fail: 0 MiB free"}},
		"read-only":        {usage{size: 100 * gib, free: 50 * gib, readOnly: true}, []string{"fail: read-only"}},
		"few inodes":       {usage{size: 100 * gib, free: 50 * gib, inodes: 1000, freeInodes: 40}, []string{"ok: ", "warn: 40 inodes free of 1000 (4.0 %)"}},
		"no inodes":        {usage{size: 100 * gib, free: 50 * gib, inodes: 1000}, []string{"ok: ", "fail: 0 inodes"}},
		"inodes uncounted": {usage{size: 100 * gib, free: 50 * gib}, []string{"ok: "}},
	} {
		t.Run(name, func(t *testing.T) { expect(t, judgeUsage("/d", tt.u), tt.want...) })
	}
}

func TestDiskWrite(t *testing.T) {
	expect(t, judgeWrite("/d", 3*time.Millisecond, nil), "ok: 3ms")
	expect(t, judgeWrite("/d", 100*time.Millisecond, nil), "ok: 100ms")
	expect(t, judgeWrite("/d", 230*time.Millisecond, nil), "warn: 230ms to reach the disk")
	expect(t, judgeWrite("/d", 0, &os.PathError{Op: "open", Path: "/d", Err: unix.EROFS}), "fail: read-only")
	expect(t, judgeWrite("/d", 0, &os.PathError{Op: "write", Path: "/d", Err: unix.ENOSPC}), "fail: is full")
	expect(t, judgeWrite("/d", 0, errors.New("odd")), "fail: odd")
}

// TestDiskReal: the probe leaves nothing, and a missing directory and what the
// agent saw are told.
func TestDiskReal(t *testing.T) {
	dir := t.TempDir()
	if took, err := writeProbe(dir); err != nil || took <= 0 {
		t.Errorf("probe: %v, %v", took, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	u, err := usageOf(dir)
	if err != nil || u.size == 0 || u.free > u.size {
		t.Errorf("%+v, %v", u, err)
	}
	env := Env{DataDir: filepath.Join(dir, "absent")}
	expect(t, env.disk(t.Context()), "fail: no such file")
	env = Env{DataDir: dir, DiskErr: func() error { return errors.New("sync failed") }}
	got := env.disk(t.Context())
	expect(t, got[len(got)-1:], "fail: sync failed")
}

func TestMemory(t *testing.T) {
	const gib = 1 << 30
	expect(t, judgeMemory(8*gib, 4*gib), "ok: 4.0 GiB available of 8.0 GiB")
	expect(t, judgeMemory(32*gib, 2*gib), "warn: 2.0 GiB")
	expect(t, judgeMemory(2*gib, 400<<20), "warn: 400 MiB")
	expect(t, judgeMemory(2*gib, 100<<20), "fail: 100 MiB")

	proc := t.TempDir()
	write(t, filepath.Join(proc, "meminfo"), "MemTotal:       8388608 kB\nMemFree: 1 kB\nMemAvailable:    4194304 kB\n")
	expect(t, Env{proc: proc}.memory(t.Context()), "ok: 4.0 GiB available of 8.0 GiB")
	write(t, filepath.Join(proc, "meminfo"), "nonsense\n")
	expect(t, Env{proc: proc}.memory(t.Context()), "warn: no MemTotal")
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestKernel(t *testing.T) {
	good := kernel{cgroup: 2, controllers: []string{"cpu", "memory", "pids"}, overlay: true, forward: true}
	for name, tt := range map[string]struct {
		change func(*kernel)
		want   string
	}{
		"good":       {func(*kernel) {}, "ok: cgroup v2 with cpu, memory, pids"},
		"v1":         {func(k *kernel) { k.cgroup = 1 }, "ok: cgroup v1"},
		"no cgroup":  {func(k *kernel) { k.cgroup = 0 }, "fail: no cgroup"},
		"no memory":  {func(k *kernel) { k.controllers = []string{"cpu", "pids"} }, "fail: controller memory is off"},
		"no pids":    {func(k *kernel) { k.controllers = []string{"cpu", "memory"} }, "warn: controller pids is off"},
		"no overlay": {func(k *kernel) { k.overlay = false }, "warn: no overlay"},
		"no forward": {func(k *kernel) { k.forward = false }, "fail: forwarding is off"},
		"iptables":   {func(k *kernel) { k.iptables = errors.New("no program") }, "fail: no program"},
	} {
		t.Run(name, func(t *testing.T) {
			k := good
			tt.change(&k)
			expect(t, judgeKernel(k, true), tt.want)
			expect(t, judgeKernel(k, false), "ok: run no containers")
		})
	}
	proc := t.TempDir()
	write(t, filepath.Join(proc, "cgroups"), "#subsys_name hierarchy num_cgroups enabled\ncpu 1 1 1\nmemory 2 1 0\npids 3 1 1\n")
	if got := (Env{proc: proc}).cgroupControllers(1); len(got) != 2 || got[0] != "cpu" || got[1] != "pids" {
		t.Errorf("controllers %v", got)
	}
	env := Env{proc: "/proc", Self: node.Node{Roles: node.NewRoleSet(node.DEA)}}
	for _, f := range env.kernel(t.Context()) {
		t.Logf("%+v", f)
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "pki", "node.key")
	write(t, secret, "x")
	for path, mode := range map[string]os.FileMode{dir: 0o755, filepath.Join(dir, "pki"): 0o700} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	env := Env{Files: SecretFiles(dir)}
	expect(t, env.files(t.Context()), "ok: 3 files")

	if err := os.Chmod(secret, 0o640); err != nil {
		t.Fatal(err)
	}
	got := env.files(t.Context())
	expect(t, got, "fail: has mode 0640, at most 0600")
	if want := "chmod 0600 " + secret; got[0].Remedy[:len(want)] != want {
		t.Errorf("remedy %q", got[0].Remedy)
	}
	expect(t, judgeFile(secret, 0o640, os.Geteuid()+1), "fail: belongs to user")
	link := filepath.Join(dir, "pki", "other.key")
	if err := os.Symlink(secret, link); err != nil {
		t.Fatal(err)
	}
	expect(t, judgeFile(link, 0o600, os.Geteuid()), "fail: symbolic link")
	env.Files = []File{{Path: filepath.Join(dir, "gossip.keyring"), Mode: 0o600, Required: true}}
	expect(t, env.files(t.Context()), "fail: gossip.keyring is missing")
	env.Files[0].Required = false
	expect(t, env.files(t.Context()), "ok: 0 files")
}

func TestDocker(t *testing.T) {
	good := fence.Info{Version: "20.10.24+dfsg1", APIVersion: "1.41", CgroupVersion: "2", CgroupDriver: "systemd", StorageDriver: "overlay2", RootDir: "/absent", MemoryLimit: true, IPv4Forwarding: true}
	for name, tt := range map[string]struct {
		change func(*fence.Info)
		err    error
		want   string
	}{
		"good":       {func(*fence.Info) {}, nil, "ok: Docker Engine 20.10.24+dfsg1, API 1.41, overlay2, cgroup v2"},
		"newer":      {func(i *fence.Info) { i.Version = "28.5.2" }, nil, "ok: 28.5.2"},
		"old":        {func(i *fence.Info) { i.Version = "19.3.15" }, nil, "fail: 19.3.15 is older than 20.10"},
		"odd":        {func(i *fence.Info) { i.Version = "dev" }, nil, "warn: cannot be read"},
		"vfs":        {func(i *fence.Info) { i.StorageDriver = "vfs" }, nil, "warn: vfs, not overlay2"},
		"no limits":  {func(i *fence.Info) { i.MemoryLimit = false }, nil, "fail: cannot limit memory"},
		"no forward": {func(i *fence.Info) { i.IPv4Forwarding = false }, nil, "fail: forwarding is off"},
		"away":       {func(*fence.Info) {}, fence.ErrUnreachable, "fail: cannot be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			i := good
			tt.change(&i)
			env := Env{Docker: func(context.Context) (fence.Info, error) { return i, tt.err }}
			expect(t, env.docker(t.Context()), "ok: need no Docker") // base alone
			env.Self.Roles = node.NewRoleSet(node.Base, node.DEA)
			expect(t, env.docker(t.Context()), tt.want)
		})
	}
}

// A DEA without the image that apps run in takes no work: that is said.
func TestDockerImage(t *testing.T) {
	here := error(nil)
	env := Env{
		Self: node.Node{Roles: node.NewRoleSet(node.Base, node.DEA)},
		Docker: func(context.Context) (fence.Info, error) {
			return fence.Info{Version: "20.10.24", StorageDriver: "overlay2", MemoryLimit: true, IPv4Forwarding: true}, nil
		},
		Image: func(context.Context) error { return here },
	}
	expect(t, env.docker(t.Context()), "ok: Docker Engine 20.10.24")
	here = fmt.Errorf("%w stack:1 is not on this node", fence.ErrNoImage)
	got := env.docker(t.Context())
	expect(t, got, "fail: stack:1 is not on this node")
	if !strings.Contains(got[0].Remedy, "docker load") {
		t.Errorf("remedy %q", got[0].Remedy)
	}
}

func TestVersions(t *testing.T) {
	need := supervise.Requirement{Name: "consul", Min: supervise.Version{Major: 1, Minor: 21}, Below: supervise.Version{Major: 1, Minor: 23}}
	for name, tt := range map[string]struct {
		p    Program
		want string
	}{
		"good":       {Program{Need: need, Needed: true, Version: "1.21.0"}, "ok: agent 0.2.0, consul 1.21.0"},
		"old":        {Program{Need: need, Needed: true, Version: "1.20.9", Path: "/x/consul"}, "fail: consul is 1.20.9 (/x/consul), needed is 1.21.0"},
		"too new":    {Program{Need: need, Needed: true, Version: "1.23.0"}, "fail: before 1.23.0"},
		"odd":        {Program{Need: need, Needed: true, Version: "x"}, "fail: no version"},
		"absent":     {Program{Need: need, Needed: true}, "fail: there is no consul"},
		"told why":   {Program{Need: need, Needed: true, Version: "1.20.0", Err: errors.New("none will do")}, "fail: none will do"},
		"not needed": {Program{Need: need}, "ok: agent 0.2.0"},
	} {
		t.Run(name, func(t *testing.T) {
			env := Env{Version: "0.2.0", Programs: func(context.Context) []Program { return []Program{tt.p} }}
			expect(t, env.versions(t.Context()), tt.want)
		})
	}
	env := Env{Version: "0.10.0", Self: node.Node{ID: "1"}, Nodes: []node.Node{
		{ID: "1", Name: "n1", Version: "stale"}, {ID: "2", Name: "n2", Version: "0.9.1"}, {ID: "3", Name: "n3", Version: "0.10.0"},
	}}
	got := env.versions(t.Context())
	expect(t, got, "warn: 0.9.1 on n2; 0.10.0 on n1, n3")
	if want := "install 0.10.0 on n2"; got[0].Remedy[:len(want)] != want {
		t.Errorf("remedy %q", got[0].Remedy)
	}
	env.Nodes[1].Version = "0.10.0"
	expect(t, env.versions(t.Context()), "ok: agent 0.10.0")
}
