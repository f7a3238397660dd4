package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/stackato/stackato/buildpacks"
	"github.com/stackato/stackato/buildpacks/lifecycle"
	"github.com/stackato/stackato/wire/staging"
)

// buildCommand is the argument that makes this program the one that stages.
const buildCommand = "build"

// request is what the building process gets, on standard input. Files are
// numbers of open files in that process, 0 for none.
type request struct {
	Spec         staging.Spec `json:"spec"` // without its token
	Home         string       `json:"home"`
	Temp         string       `json:"temp"`
	Certificates string       `json:"certificates"`

	Package    int   `json:"package"`
	Cache      int   `json:"cache"`
	Droplet    int   `json:"droplet"`
	CacheOut   int   `json:"cache_out"`
	Outcome    int   `json:"outcome"`
	Buildpacks []int `json:"buildpacks"`
}

// outcome is what the building process found out. It comes from where strangers'
// code runs: it is about this build and nothing else.
type outcome struct {
	Result staging.Result `json:"result"`
	// Internal is an error that is not the developer's.
	Internal string `json:"internal,omitempty"`
}

// maxOutcome bounds an outcome, in bytes. It is less than fence takes for a
// result, so that a build that says too much fails and does not hang.
const maxOutcome = 512 << 10

// child runs the building process as the app's user.
type child struct {
	user   uint32 // 0: as whoever this process is
	stdout *os.File
	// alone: this is the first process of a container, all others are the
	// build's and end with it.
	alone bool

	mu  sync.Mutex
	pid int // of the building process, 0 before and after
}

func (c *child) run(ctx context.Context, r request, f *files) (outcome, error) {
	out, err := os.CreateTemp(os.TempDir(), "outcome-*")
	if err != nil {
		return outcome{}, err
	}
	defer out.Close()
	if err := os.Remove(out.Name()); err != nil {
		return outcome{}, err
	}
	cmd, err := c.command(ctx, r, f, out)
	if err != nil {
		return outcome{}, err
	}
	if err := c.start(cmd); err != nil {
		return outcome{}, err
	}
	ended := cmd.Wait()
	c.set(0)
	if c.alone {
		// Whatever the build has left running must not touch the droplet.
		_ = syscall.Kill(-1, syscall.SIGKILL)
	}
	if ctx.Err() != nil {
		return outcome{}, ctx.Err()
	}
	if ended != nil {
		return outcome{}, fmt.Errorf("the build broke off: %w", ended)
	}
	return readOutcome(out)
}

// start keeps the reaper away until it knows whom it must leave alone.
func (c *child) start(cmd *exec.Cmd) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	c.pid = cmd.Process.Pid
	return nil
}

func (c *child) set(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pid = pid
}

// command hands the build's files over by number.
func (c *child) command(ctx context.Context, r request, f *files, out *os.File) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, buildCommand)
	give := func(file *os.File) int {
		if file == nil {
			return 0
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
		return 2 + len(cmd.ExtraFiles) // after standard input, output, error
	}
	r.Package, r.Cache, r.Droplet, r.CacheOut, r.Outcome = give(f.pkg), give(f.cache), give(f.droplet), give(f.cacheOut), give(out)
	for _, file := range f.buildpacks {
		r.Buildpacks = append(r.Buildpacks, give(file))
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(raw), c.stdout, c.stdout
	cmd.Dir = r.Home
	// The process's own: for what its buildpacks fetch themselves.
	env := lifecycle.ProxyVariables(r.Spec.HTTPProxy, r.Spec.NoProxy)
	env["SSL_CERT_FILE"], env["HOME"], env["TMPDIR"] = r.Certificates, r.Home, r.Temp
	cmd.Env = buildpacks.Environ(env)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if c.user != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: c.user, Gid: c.user}
	}
	cmd.WaitDelay = time.Second
	return cmd, nil
}

func readOutcome(f *os.File) (outcome, error) {
	var o outcome
	raw, err := io.ReadAll(io.NewSectionReader(f, 0, maxOutcome+1))
	if err != nil {
		return o, err
	}
	if len(raw) > maxOutcome {
		return o, fmt.Errorf("the build's outcome is longer than %d bytes", maxOutcome)
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return o, fmt.Errorf("the build's outcome cannot be read: %w", err)
	}
	if o.Internal != "" {
		return o, errors.New(o.Internal)
	}
	return o, nil
}

// buildMain is the building process.
func buildMain() int {
	if err := build(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "Staging error: %v\n", err)
		return exitFailed
	}
	return 0
}

func build(ctx context.Context, in io.Reader, log io.Writer) error {
	var r request
	if err := json.NewDecoder(in).Decode(&r); err != nil {
		return fmt.Errorf("the build's request: %w", err)
	}
	b := &lifecycle.Build{
		Spec: r.Spec, Home: r.Home, Temp: r.Temp, Certificates: r.Certificates, Log: log,
		Package: taken(r.Package, "package"), Cache: taken(r.Cache, "cache"),
		Droplet: taken(r.Droplet, "droplet"), CacheOut: taken(r.CacheOut, "cache-out"),
	}
	for _, fd := range r.Buildpacks {
		b.Buildpacks = append(b.Buildpacks, taken(fd, "buildpack"))
	}
	out := taken(r.Outcome, "outcome")
	if out == nil || r.Droplet == 0 || r.CacheOut == 0 {
		return errors.New("the build's request names no files to write to")
	}
	return json.NewEncoder(out).Encode(stageOnce(ctx, b))
}

// taken returns a file that the parent has opened. Commands of the build do not
// inherit it.
func taken(fd int, name string) *os.File {
	if fd == 0 {
		return nil
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name)
}

// stageOnce runs a build and sorts its errors into the developer's and ours.
func stageOnce(ctx context.Context, b *lifecycle.Build) outcome {
	result, err := b.Run(ctx)
	var f *lifecycle.BuildError
	switch {
	case err == nil:
		return outcome{Result: result}
	case errors.As(err, &f):
		return outcome{Result: failed(f.Code(), f.Detail)}
	default:
		return outcome{Internal: err.Error()}
	}
}
