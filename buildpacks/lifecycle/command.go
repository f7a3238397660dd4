package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/stackato/stackato/buildpacks"
)

// grace is how long output of a command's own children is waited for when
// the command has ended.
const grace = 2 * time.Second

// runner returns what executes commands of one buildpack. A command has a
// process group of its own, which ends with it.
func (b *Build) runner(c *buildpacks.Context) func(context.Context, buildpacks.Command) error {
	return func(ctx context.Context, command buildpacks.Command) error {
		env := maps.Clone(c.Env)
		maps.Copy(env, command.Env)
		name, err := lookPath(command.Args[0], env["PATH"])
		if err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, name, command.Args[1:]...)
		cmd.Args[0] = command.Args[0]
		cmd.Dir = command.Dir
		if cmd.Dir == "" {
			cmd.Dir = c.App
		}
		env["PWD"] = cmd.Dir
		cmd.Env = buildpacks.Environ(env)
		out := b.Log
		if command.Watch != nil {
			out = io.MultiWriter(b.Log, command.Watch)
		}
		cmd.Stdout, cmd.Stderr = out, out
		if command.Stdout != nil {
			cmd.Stdout = command.Stdout
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Cancel = func() error { return killGroup(cmd.Process) }
		cmd.WaitDelay = grace
		err = cmd.Run()
		if cmd.Process != nil {
			_ = killGroup(cmd.Process) // what it left behind
		}
		if errors.Is(err, exec.ErrWaitDelay) {
			return nil // it ended well; a child of its own held the output
		}
		return describeExit(command.Args[0], err)
	}
}

func killGroup(p *os.Process) error {
	err := syscall.Kill(-p.Pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

func describeExit(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", filepath.Base(name), err)
}

// lookPath finds a program in the directories of a PATH that is not this
// process's.
func lookPath(name, path string) (string, error) {
	if strings.ContainsRune(name, '/') {
		return name, nil
	}
	for _, dir := range filepath.SplitList(path) {
		full := filepath.Join(dir, name)
		if info, err := os.Stat(full); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return full, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

// bounded keeps the beginning of what is written to it. It must not be a
// bytes.Buffer, whose ReadFrom would know no bound.
type bounded struct {
	kept  []byte
	limit int
	cut   bool
}

// Write never fails: a command must not block because it says too much.
func (w *bounded) Write(p []byte) (int, error) {
	keep := min(len(p), w.limit-len(w.kept))
	w.cut = w.cut || keep < len(p)
	w.kept = append(w.kept, p[:keep]...)
	return len(p), nil
}

func (w *bounded) String() string { return string(w.kept) }
