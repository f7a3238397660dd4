package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Node is one machine of a cluster.
type Node struct {
	Name      string // n1, n2, …; also its host name
	Address   string // fixed, IPv4
	Container string // name in the Docker Engine

	cluster   *Cluster
	index     int
	destroyed atomic.Bool

	mu     sync.Mutex
	pid    int    // of the container's first process on the host; 0: off
	volume string // host directory of the node's volume
}

func newNode(c *Cluster, index int) *Node {
	name := "n" + strconv.Itoa(index+1)
	return &Node{
		Name:      name,
		Address:   fmt.Sprintf("%s.%d", c.prefix, 11+index),
		Container: c.Name + "-" + name,
		cluster:   c,
		index:     index,
	}
}

// privileges are what a nested Docker Engine needs. Not --privileged: it is
// refused where the host itself lacks CAP_SYS_RESOURCE. A private cgroup
// namespace keeps the nested containers below the node's own control group,
// so that pausing or killing the node takes them along.
var privileges = []string{
	"--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE",
	"--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined",
	"--security-opt", "systempaths=unconfined",
	"--device-cgroup-rule", "a *:* rwm", "--cgroupns", "private",
	// Emptied by a power loss, as on a machine; dockerd does not start over its own stale files.
	"--tmpfs", "/run:rw,exec,nosuid,nodev,mode=755", "--tmpfs", "/tmp:rw,exec,nosuid,nodev,mode=1777",
}

// create makes volume and container and switches the node on.
func (n *Node) create(ctx context.Context) error {
	o := n.cluster.opts
	labels := o.labels(labelNode + "=" + strconv.Itoa(n.index+1))
	if _, err := docker(ctx, slices.Concat([]string{"volume", "create"}, labels, []string{n.Container})...); err != nil {
		return err
	}
	if err := n.findVolume(ctx); err != nil {
		return err
	}
	for _, dir := range []string{"ctl", "data", "docker", "log"} {
		if err := os.MkdirAll(filepath.Join(n.volume, dir), 0o755); err != nil {
			return err
		}
	}
	if err := n.SetAgentEnv(o.AgentEnv); err != nil {
		return err
	}
	args := slices.Concat([]string{
		"create", "--name", n.Container, "--hostname", n.Name,
		"--network", o.name, "--ip", n.Address, "--network-alias", n.Name,
	}, labels, privileges, n.mounts(), n.environment(), []string{n.cluster.image})
	if _, err := docker(ctx, args...); err != nil {
		return err
	}
	if err := n.Start(ctx); err != nil || o.NoAgent {
		return err
	}
	return n.WaitAgent(ctx)
}

func (n *Node) mounts() []string {
	o := n.cluster.opts
	args := []string{
		"-v", n.Container + ":/node", // keeps the volume in use
		"-v", filepath.Join(n.volume, "docker") + ":/var/lib/docker",
		"-v", filepath.Join(n.volume, "log") + ":" + LogDir,
		"-v", o.BinDir + ":/opt/stackato/bin:ro",
	}
	if o.DataDiskMiB == 0 {
		args = append(args, "-v", filepath.Join(n.volume, "data")+":"+DataDir)
	}
	// Nodes trust what this machine trusts, such as a company's proxy.
	const bundle = "/etc/ssl/certs/ca-certificates.crt"
	if _, err := os.Stat(bundle); err == nil {
		args = append(args, "-v", bundle+":"+bundle+":ro")
	}
	return args
}

func (n *Node) environment() []string {
	o := n.cluster.opts
	flag := func(b bool) string {
		if b {
			return "1"
		}
		return "0"
	}
	return []string{
		"-e", "STACKATO_NODE_DOCKER=" + flag(!o.NoDocker),
		"-e", "STACKATO_NODE_AGENT=" + flag(!o.NoAgent),
		"-e", "STACKATO_NODE_RESTART=" + flag(o.RestartAgent),
		"-e", "STACKATO_NODE_BIP=" + innerBridge,
		"-e", "STACKATO_NODE_DATA_MIB=" + strconv.Itoa(o.DataDiskMiB),
	}
}

func (n *Node) findVolume(ctx context.Context) (err error) {
	n.volume, err = docker(ctx, "volume", "inspect", "--format", "{{.Mountpoint}}", n.Container)
	return err
}

// Start switches the node on, with the disk that it had, the same address and
// the cuts that are in force. It returns when the machine is up; its agent
// starts at that moment (see [Node.WaitAgent]) unless Options.NoAgent.
func (n *Node) Start(ctx context.Context) error {
	// The machine waits with everything until its cuts are in place.
	if err := n.control("boot.hold", ""); err != nil {
		return err
	}
	if err := n.uncontrol("node.ready"); err != nil {
		return err
	}
	if _, err := docker(ctx, "start", n.Container); err != nil {
		return err
	}
	if err := n.findPID(ctx); err != nil {
		return err
	}
	if err := n.cluster.applyCuts(ctx, n, true); err != nil {
		return err
	}
	if err := n.uncontrol("boot.hold"); err != nil {
		return err
	}
	return poll(ctx, 5*time.Millisecond, n.Name+" to boot", func() error {
		if !n.controlled("node.ready") {
			return errors.New("not ready; see: docker logs " + n.Container)
		}
		return nil
	})
}

// findPID learns whether the node is on.
func (n *Node) findPID(ctx context.Context) error {
	out, err := docker(ctx, "inspect", "--format", "{{.State.Pid}}", n.Container)
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(out)
	if err != nil {
		return fmt.Errorf("%s: process id %q: %w", n.Name, out, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pid = pid
	return nil
}

func (n *Node) hostPID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pid
}

// On reports whether the node is switched on; a paused one is.
func (n *Node) On() bool { return n.hostPID() != 0 }

// Kill cuts the power: every process ends at once, also when the node is
// paused. Disk and address stay for [Node.Start].
func (n *Node) Kill(ctx context.Context) error {
	if _, err := docker(ctx, "kill", "--signal", "KILL", n.Container); err != nil {
		return err
	}
	return n.off(ctx)
}

// Stop switches the node off in order: agent, its children, Docker.
func (n *Node) Stop(ctx context.Context) error {
	if _, err := docker(ctx, "stop", "--time", "60", n.Container); err != nil {
		return err
	}
	return n.off(ctx)
}

// off waits until the Engine has noticed that the container ended.
func (n *Node) off(ctx context.Context) error {
	return poll(ctx, 5*time.Millisecond, n.Name+" to be off", func() error {
		if err := n.findPID(ctx); err != nil {
			return err
		}
		if pid := n.hostPID(); pid != 0 {
			return fmt.Errorf("process %d runs", pid)
		}
		return nil
	})
}

// Pause freezes every process of the node, nested containers included. Its
// network stays, but nothing answers.
func (n *Node) Pause(ctx context.Context) error {
	_, err := docker(ctx, "pause", n.Container)
	return err
}

// Unpause lets a paused node go on where it stood.
func (n *Node) Unpause(ctx context.Context) error {
	_, err := docker(ctx, "unpause", n.Container)
	return err
}

// Reset gives the node a new disk: afterwards it is a fresh machine, switched
// on, with the same name and address and an agent that is not configured.
func (n *Node) Reset(ctx context.Context) error {
	if n.hostPID() != 0 {
		if err := n.Kill(ctx); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(filepath.Join(n.volume, "data.img")); err != nil {
		return err
	}
	for _, dir := range []string{"data", "docker", "log"} {
		path := filepath.Join(n.volume, dir)
		if err := errors.Join(os.RemoveAll(path), os.Mkdir(path, 0o755)); err != nil {
			return err
		}
	}
	if err := n.Start(ctx); err != nil || n.cluster.opts.NoAgent {
		return err
	}
	return n.WaitAgent(ctx)
}

// Destroy removes the machine and its disk. The node cannot be used again;
// its name and address are not given to another one.
func (n *Node) Destroy(ctx context.Context) error {
	n.destroyed.Store(true)
	if _, err := docker(ctx, "rm", "--force", "--volumes", n.Container); err != nil {
		return err
	}
	_, err := docker(ctx, "volume", "rm", "--force", n.Container)
	return err
}

// Exec runs a command in the node, as root, and returns its standard output.
// A command that fails is a [*CommandError]. A paused node refuses. When ctx
// ends first the command may run on inside the node.
func (n *Node) Exec(ctx context.Context, command ...string) (string, error) {
	return n.ExecEnv(ctx, nil, command...)
}

// ExecEnv is Exec with more variables in the command's environment, which is
// the way for secrets: their values appear in no command line.
func (n *Node) ExecEnv(ctx context.Context, env map[string]string, command ...string) (string, error) {
	if len(command) == 0 {
		return "", errors.New("no command given")
	}
	args := []string{"exec"}
	for name := range env {
		args = append(args, "--env", name)
	}
	out, err := run(ctx, input{env: env}, "docker", slices.Concat(args, []string{n.Container}, command)...)
	var failed *CommandError
	if errors.As(err, &failed) {
		failed.Command = n.Name + ": " + strings.Join(command, " ")
	}
	return out, err
}

// HostPath returns where a file of the node is found on this host, for
// reading, writing and connecting. Below DataDir and LogDir it works also
// while the node is off; elsewhere, and with Options.DataDiskMiB, the node
// must be on (paused will do). Absolute symbolic links are not followed
// inside the node.
func (n *Node) HostPath(name string) string {
	kept := map[string]string{LogDir: "log"}
	if n.cluster.opts.DataDiskMiB == 0 {
		kept[DataDir] = "data"
	}
	for dir, sub := range kept {
		if rest, ok := strings.CutPrefix(name, dir); ok && (rest == "" || rest[0] == '/') {
			return filepath.Join(n.volume, sub, rest)
		}
	}
	return filepath.Join(fmt.Sprintf("/proc/%d/root", n.hostPID()), name)
}

// control writes a file that the node's first script reads.
func (n *Node) control(name, content string) error {
	path := filepath.Join(n.volume, "ctl", name)
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (n *Node) uncontrol(name string) error {
	err := os.Remove(filepath.Join(n.volume, "ctl", name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (n *Node) controlled(name string) bool {
	_, err := os.Stat(filepath.Join(n.volume, "ctl", name))
	return err == nil
}
