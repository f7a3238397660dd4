package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stackato/stackato/test/cluster"
)

// machine is a bare machine for scripts: the programs and files of this one,
// but its own processes, network (without a way out), Docker Engine, /run,
// /etc/hosts and logs. So a script may do there what it does to a machine,
// and a micro cloud of this machine can be up beside it. Switching it off
// ends every process at once and keeps what lies on its disks.
type machine struct {
	t      *testing.T
	root   string // of the repository
	dir    string // of the test, seen by both
	volume string // the Docker Engine's data
	holder *exec.Cmd
	pid    string // its first process, as seen from here
}

// boot is what the first process of a machine does. By the directory in its
// command line scripts/test finds it when the test was killed.
const boot = `set -e
dir=$1 docker=$2
ip link set lo up
ip link add eth0 type veth peer name cable
ip link set cable up
ip address add 10.213.255.2/24 dev eth0
ip link set eth0 up
ip route add default dev eth0
mount -t tmpfs tmpfs /run
mkdir -p /run/lock
mount -t tmpfs tmpfs /var/log
mount --bind "$dir/hosts" /etc/hosts
mount --bind "$docker" /var/lib/docker
echo up
# Not exec: as the first process it waits for orphans, as a shell does.
while sleep 60; do :; done`

// newMachine switches a machine on, until the test ends.
func newMachine(t *testing.T) *machine {
	t.Helper()
	cluster.Require(t)
	root, err := filepath.Abs("..")
	must(t, err)
	m := &machine{t: t, root: root, dir: t.TempDir()}
	must(t, os.WriteFile(filepath.Join(m.dir, "hosts"), []byte("127.0.0.1 localhost\n"), 0o644))
	// On the file system of this machine's engine: overlays do not nest.
	name := "st-" + filepath.Base(filepath.Dir(m.dir)) + fmt.Sprint(time.Now().UnixNano())
	out, err := exec.Command("docker", append(append([]string{"volume", "create"}, cluster.Labels()...), name)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("docker", "volume", "rm", "--force", name).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	out, err = exec.Command("docker", "volume", "inspect", "--format", "{{.Mountpoint}}", name).Output()
	must(t, err)
	m.volume = strings.TrimSpace(string(out))
	m.on()
	t.Cleanup(m.off)
	return m
}

// on switches the machine on.
func (m *machine) on() {
	m.t.Helper()
	m.holder = exec.Command("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		"bash", "-c", boot, "machine", m.dir, m.volume)
	var problem bytes.Buffer
	m.holder.Stderr = &problem
	out, err := m.holder.StdoutPipe()
	must(m.t, err)
	must(m.t, m.holder.Start())
	if _, err := out.Read(make([]byte, 3)); err != nil {
		_ = m.holder.Wait()
		m.t.Fatalf("no machine: %v: %s", err, problem.String())
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", m.holder.Process.Pid))
	must(m.t, err)
	m.pid = strings.TrimSpace(string(children))
}

// off cuts the power: no process gets to do anything any more.
func (m *machine) off() {
	if m.holder == nil {
		return
	}
	_ = exec.Command("kill", "-KILL", m.pid).Run() // all others of its namespace go with the first
	_ = m.holder.Wait()                            // says that it was killed
	m.holder = nil
}

// command is a program on the machine, started in the given directory.
func (m *machine) command(ctx context.Context, dir string, env []string, name string, args ...string) *exec.Cmd {
	enter := []string{"--target=" + m.pid, "--net", "--mount", "--pid", "--wd=" + dir, name}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// script runs a command in the repository and returns all it prints.
func (m *machine) script(ctx context.Context, env []string, name string, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := m.command(ctx, m.root, env, filepath.Join(m.root, name), args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// listen occupies a port of the machine until close is called.
func (m *machine) listen(address string) (closer func() error, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var there *os.File
		if there, err = os.Open(filepath.Join("/proc", m.pid, "ns", "net")); err != nil {
			return
		}
		defer there.Close()
		if err = unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
			return
		}
		var l net.Listener
		if l, err = net.Listen("tcp", address); err == nil {
			closer = l.Close
		}
	}()
	<-done
	return closer, err
}

// terminal is what a person sits at: a pseudo terminal.
type terminal struct {
	master, slave *os.File
	shown         strings.Builder
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { master.Close() })
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	must(t, err)
	must(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { slave.Close() })
	return &terminal{master: master, slave: slave}
}

// run starts a command at the terminal and calls each, which may type, with
// all that was shown so far whenever that grows.
func (x *terminal) run(cmd *exec.Cmd, each func(shown string)) (string, error) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = x.slave, x.slave, x.slave
	if err := cmd.Start(); err != nil {
		return "", err
	}
	x.slave.Close() // reading ends with the last process that has it
	buffer := make([]byte, 4096)
	for {
		n, err := x.master.Read(buffer)
		x.shown.Write(buffer[:n])
		if err != nil {
			break // EIO: nobody has the other side open
		}
		each(x.shown.String())
	}
	return x.shown.String(), cmd.Wait()
}

func (x *terminal) typeLine(text string) error {
	_, err := x.master.WriteString(text + "\n")
	return err
}

// eventually repeats try until it is content, or ctx ends.
func eventually(ctx context.Context, t *testing.T, what string, try func() error) {
	t.Helper()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, errors.Join(err, ctx.Err()))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
