package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// defaultTimeout bounds a command whose context has no deadline.
const defaultTimeout = 2 * time.Minute

// CommandError is a command that ran and failed, in a node or on the host.
type CommandError struct {
	Command string // without secrets: they never stand in arguments
	Code    int    // exit code; -1 if it was killed or never ran
	Stdout  string
	Stderr  string
}

func (e *CommandError) Error() string {
	text := strings.TrimSpace(e.Stderr)
	if text == "" {
		text = strings.TrimSpace(e.Stdout)
	}
	return fmt.Sprintf("%s: exit code %d: %s", e.Command, e.Code, text)
}

// input is what a command on the host gets beside its arguments.
type input struct {
	stdin string
	env   map[string]string // over this process's environment
}

// run executes a command on the host and returns its standard output.
func run(ctx context.Context, in input, name string, args ...string) (string, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultTimeout)
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in.stdin), &stdout, &stderr
	cmd.Env = os.Environ()
	for k, v := range in.env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	err := cmd.Run()
	if err == nil {
		return stdout.String(), nil
	}
	var exit *exec.ExitError
	if ctx.Err() != nil || !errors.As(err, &exit) {
		return stdout.String(), fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), errors.Join(ctx.Err(), err))
	}
	return stdout.String(), &CommandError{
		Command: strings.Join(cmd.Args, " "),
		Code:    exit.ExitCode(),
		Stdout:  stdout.String(),
		Stderr:  stderr.String(),
	}
}

// docker calls the Docker client. Docker's Go client stays with agent/fence;
// here the command is enough.
func docker(ctx context.Context, args ...string) (string, error) {
	out, err := run(ctx, input{}, "docker", args...)
	return strings.TrimSpace(out), err
}

// dockerLines returns the lines of the answer, none for an empty one.
func dockerLines(ctx context.Context, args ...string) ([]string, error) {
	out, err := docker(ctx, args...)
	if err != nil || out == "" {
		return nil, err
	}
	return strings.Split(out, "\n"), nil
}
