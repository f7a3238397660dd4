package inspect

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/supervise"
)

// Bounds of the memory check.
const (
	memoryWarnPercent                = 10
	memoryWarnBytes, memoryFailBytes = 512 << 20, 128 << 20
)

func (env Env) memory(context.Context) []local.Finding {
	total, available, err := readMemory(filepath.Join(env.proc, "meminfo"))
	if err != nil {
		return warned("see: free -m", "the memory could not be measured: %v", err)
	}
	return judgeMemory(total, available)
}

func readMemory(path string) (total, available uint64, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, err
	}
	for _, line := range strings.Split(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			continue
		}
		switch f[0] {
		case "MemTotal:":
			total = n << 10
		case "MemAvailable:":
			available = n << 10
		}
	}
	if total == 0 {
		return 0, 0, fmt.Errorf("%s has no MemTotal", path)
	}
	return total, available, nil
}

func judgeMemory(total, available uint64) []local.Finding {
	detail := fmt.Sprintf("%s available of %s", bytes(available), bytes(total))
	const remedy = "see who needs it: ps aux --sort -rss | head; move roles to other nodes or give the machine more"
	switch {
	case available < memoryFailBytes:
		return failed(remedy, "%s", detail)
	case available < memoryWarnBytes || available < total/100*memoryWarnPercent:
		return warned(remedy, "%s", detail)
	}
	return ok("%s", detail)
}

// kernel is what matters to containers.
type kernel struct {
	cgroup      int      // 1 or 2, 0 if none is mounted
	controllers []string // of cgroups, that are enabled
	overlay     bool
	forward     bool  // IPv4
	iptables    error // why rules cannot be read
}

func (env Env) kernel(ctx context.Context) []local.Finding {
	containers := env.Self.Roles.RunsNomadClient()
	k := kernel{
		cgroup:  cgroupVersion("/sys/fs/cgroup"),
		overlay: hasWord(filepath.Join(env.proc, "filesystems"), "overlay"),
		forward: hasWord(filepath.Join(env.proc, "sys/net/ipv4/ip_forward"), "1"),
	}
	k.controllers = env.cgroupControllers(k.cgroup)
	if containers {
		k.iptables = askIptables(ctx)
	}
	return judgeKernel(k, containers)
}

func judgeKernel(k kernel, containers bool) []local.Finding {
	if !containers {
		return ok("cgroup v%d; this node's roles run no containers", k.cgroup)
	}
	var out []local.Finding
	if k.cgroup == 0 {
		out = append(out, failed("mount it: install cgroupfs-mount, or boot with systemd", "no cgroup file system is mounted at /sys/fs/cgroup")...)
	} else {
		for _, c := range []string{"memory", "cpu"} {
			if !slices.Contains(k.controllers, c) {
				out = append(out, failed("enable it on the kernel command line (cgroup_enable="+c+") and boot again",
					"the cgroup controller %s is off: apps cannot be limited", c)...)
			}
		}
		if !slices.Contains(k.controllers, "pids") {
			out = append(out, warned("use a kernel with CONFIG_CGROUP_PIDS", "the cgroup controller pids is off: an app can start processes without end")...)
		}
	}
	if !k.overlay {
		out = append(out, warned("load it: modprobe overlay", "the kernel shows no overlay file system: containers start slowly")...)
	}
	if !k.forward {
		out = append(out, failed("switch it on: sysctl -w net.ipv4.ip_forward=1", "IPv4 forwarding is off: containers reach nothing")...)
	}
	if k.iptables != nil {
		out = append(out, failed("install it: apt-get install iptables; see: iptables -S", "packet filter rules cannot be read: %v", k.iptables)...)
	}
	if len(out) > 0 {
		return out
	}
	return ok("cgroup v%d with %s; overlay, forwarding and iptables are there", k.cgroup, strings.Join(k.controllers, ", "))
}

// cgroupVersion returns what is mounted at path: 2, 1 (also mixed) or 0.
func cgroupVersion(path string) int {
	var s unix.Statfs_t
	if unix.Statfs(path, &s) != nil {
		return 0
	}
	switch s.Type {
	case unix.CGROUP2_SUPER_MAGIC:
		return 2
	case unix.TMPFS_MAGIC, unix.CGROUP_SUPER_MAGIC:
		if _, err := os.Stat(filepath.Join(path, "memory")); err == nil {
			return 1
		}
		if _, err := os.Stat(filepath.Join(path, "cpu")); err == nil {
			return 1
		}
	}
	return 0
}

// cgroupControllers returns the controllers among memory, cpu and pids that
// are enabled.
func (env Env) cgroupControllers(version int) []string {
	known := []string{"cpu", "memory", "pids"}
	if version == 2 {
		return slices.DeleteFunc(known, func(c string) bool { return !hasWord("/sys/fs/cgroup/cgroup.controllers", c) })
	}
	// name, hierarchy, number of groups, enabled
	f, err := os.Open(filepath.Join(env.proc, "cgroups"))
	if err != nil {
		return nil
	}
	defer f.Close()
	var out []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		w := strings.Fields(lines.Text())
		if len(w) == 4 && w[3] == "1" && slices.Contains(known, w[0]) {
			out = append(out, w[0])
		}
	}
	return out
}

// hasWord reports whether a small file holds a word.
func hasWord(path, word string) bool {
	b, err := os.ReadFile(path)
	return err == nil && slices.Contains(strings.Fields(string(b)), word)
}

// askIptables reads the rules of one chain, which needs the program, the
// kernel's part and the right to.
func askIptables(ctx context.Context) error {
	var path string
	for _, dir := range supervise.SearchPath("/usr/sbin", "/sbin") {
		if p := filepath.Join(dir, "iptables"); path == "" {
			if _, err := os.Stat(p); err == nil {
				path = p
			}
		}
	}
	if path == "" {
		return errors.New("there is no program iptables")
	}
	cmd := exec.CommandContext(ctx, path, "-w", "2", "-S", "FORWARD")
	cmd.Env = supervise.CleanEnv("/")
	out, err := cmd.CombinedOutput()
	if err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%w: %.200s", err, first)
	}
	return nil
}
