package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a process of a node, nested containers excluded.
type Process struct {
	PID  int      // on the host
	Args []string // its command line
}

// is reports whether the process runs program (its base name) with first
// arguments as given.
func (p Process) is(program string, first ...string) bool {
	return len(p.Args) > len(first) && filepath.Base(p.Args[0]) == program &&
		slices.Equal(p.Args[1:1+len(first)], first)
}

// daemons are programs whose helper and client processes have the same name:
// the argument that marks the daemon itself.
var daemons = map[string]string{"stackato-agent": "run", "nomad": "agent", "consul": "agent"}

// Processes lists the processes of the node; none when it is off.
func (n *Node) Processes() ([]Process, error) {
	pid := n.hostPID()
	if pid == 0 {
		return nil, nil
	}
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: processes: %w", n.Name, err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var out []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// A process that ended meanwhile has no link or no command line.
		if ns, err := os.Readlink(filepath.Join("/proc", e.Name(), "ns/pid")); err != nil || ns != namespace {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || len(line) == 0 {
			continue
		}
		args := strings.Split(string(bytes.TrimSuffix(line, []byte{0})), "\x00")
		out = append(out, Process{PID: pid, Args: args})
	}
	return out, nil
}

// find returns the processes of a program: of a known daemon only the daemon.
func (n *Node) find(program string) ([]Process, error) {
	all, err := n.Processes()
	if err != nil {
		return nil, err
	}
	var first []string
	if mark, ok := daemons[program]; ok {
		first = []string{mark}
	}
	return slices.DeleteFunc(all, func(p Process) bool { return !p.is(program, first...) }), nil
}

// PIDs returns the host process ids of a program, such as "nomad".
func (n *Node) PIDs(program string) ([]int, error) {
	found, err := n.find(program)
	pids := make([]int, 0, len(found))
	for _, p := range found {
		pids = append(pids, p.PID)
	}
	return pids, err
}

// KillProcess kills a program of the node with SIGKILL and returns when it is
// gone. Of stackato-agent, consul and nomad only the daemon is killed, not
// its helpers; other programs (dockerd, containerd) by name. It is an error
// when none runs.
func (n *Node) KillProcess(ctx context.Context, program string) error {
	return n.signal(ctx, program, syscall.SIGKILL)
}

// signal sends sig to a program and waits until the processes are gone.
func (n *Node) signal(ctx context.Context, program string, sig syscall.Signal) error {
	pids, err := n.PIDs(program)
	if err != nil {
		return err
	}
	if len(pids) == 0 {
		return fmt.Errorf("%s: no %s runs", n.Name, program)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("%s: %s (process %d): %w", n.Name, program, pid, err)
		}
	}
	return poll(ctx, 2*time.Millisecond, program+" to end on "+n.Name, func() error {
		for _, pid := range pids {
			if running(pid) {
				return fmt.Errorf("process %d runs", pid)
			}
		}
		return nil
	})
}

// running reports whether the process exists and is not a zombie. A zombie
// has closed its sockets and files: it is gone for everybody else.
func running(pid int) bool {
	_, state, _ := processStat(pid)
	return state != "" && state != "Z" && state != "X"
}

// processStat returns start time (in clock ticks since boot) and state of a
// process of the host.
func processStat(pid int) (started, state string, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", "", err
	}
	// The name, in parentheses, may hold anything.
	i := bytes.LastIndexByte(b, ')')
	fields := strings.Fields(string(b[i+1:]))
	if len(fields) < 20 {
		return "", "", fmt.Errorf("/proc/%d/stat is not understood", pid)
	}
	return fields[19], fields[0], nil
}
