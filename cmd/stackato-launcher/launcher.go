package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/stackato/stackato/internal/memlimit"
	"github.com/stackato/stackato/wire/instance"
)

// errTold says that the instance ends because it was told to.
var errTold = errors.New("told to stop")

// bounds until fence has said which.
const (
	defaultStopBound = 5 * time.Second
	defaultGrace     = 10 * time.Second
)

// launcher runs one instance.
type launcher struct {
	places   places
	fence    *fenceClient
	children *children
	output   *relay // of the app and its sidecars, once they are started
	signals  <-chan os.Signal
	bound    time.Duration // for the routers
	grace    time.Duration // from SIGTERM to SIGKILL
	kills    func() int64  // how many processes the memory limit has ended
}

func newLauncher(p places, signals <-chan os.Signal) *launcher {
	return &launcher{
		places: p, fence: newFenceClient(p.socket), children: newChildren(), signals: signals,
		bound: defaultStopBound, grace: defaultGrace, kills: memlimit.Kills,
	}
}

// run returns the exit status of the instance.
func (l *launcher) run(ctx context.Context) (int, error) {
	stopReaping := l.children.reap()
	defer stopReaping()
	defer l.fence.close()
	defer l.tellKills(ctx)

	processes, err := l.prepareOrStop(ctx)
	if err != nil {
		if errors.Is(err, errTold) {
			return 128 + int(syscall.SIGTERM), err
		}
		return exitOurs, err
	}
	status := l.supervise(ctx, processes)
	l.finish(processes)
	return status, nil
}

// finish ends what is left of the instance, as the kernel would with this
// process, and passes on what they wrote last.
func (l *launcher) finish(processes []*process) {
	l.kill(processes, syscall.SIGKILL)
	if os.Getpid() == 1 { // the container's
		_ = syscall.Kill(-1, syscall.SIGKILL)
	}
	l.output.finish()
}

// tellKills says before the end that memory was full. The engine is not to be
// relied on for that: it learns of it and of the container's end in two ways that
// overtake each other.
func (l *launcher) tellKills(ctx context.Context) {
	if l.kills() > 0 {
		_ = l.fence.outOfMemory(ctx) // without fence the reason is lost, no more
	}
}

// prepareOrStop prepares and starts the processes, and stops preparing when
// it is told to.
func (l *launcher) prepareOrStop(ctx context.Context) ([]*process, error) {
	type prepared struct {
		processes []*process
		err       error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan prepared, 1)
	go func() {
		processes, err := l.prepare(ctx)
		done <- prepared{processes, err}
	}()
	for {
		select {
		case p := <-done:
			return p.processes, p.err
		case s := <-l.signals:
			if s != syscall.SIGTERM && s != syscall.SIGINT {
				continue // nobody is there who could get it
			}
			cancel()
			p := <-done
			_ = l.fence.stopping(context.Background(), l.bound) // so that it does not count as a crash
			if p.err == nil {
				l.end(p.processes)
				l.finish(p.processes)
			}
			return nil, errTold
		}
	}
}

// prepare makes the container ready and starts the app with its sidecars.
func (l *launcher) prepare(ctx context.Context) ([]*process, error) {
	launch, err := l.fence.launch(ctx)
	if err != nil {
		return nil, err
	}
	if launch.StopBound > 0 && launch.Grace > 0 {
		l.bound, l.grace = launch.StopBound, launch.Grace
	}
	if err := l.ownHome(); err != nil {
		return nil, err
	}
	bundles := make(chan string, 1)
	go func() { bundles <- l.bundle(ctx) }()
	err = l.unpackDroplet(ctx)
	bundle := <-bundles
	if err != nil {
		return nil, err
	}
	env, err := environment(launch, l.places, bundle)
	if err != nil {
		return nil, err
	}
	processes, err := l.start(launch.Spec, env)
	if err != nil {
		return nil, err
	}
	if err := l.fence.started(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "stackato:", err) // the checks begin late; the app runs
	}
	return processes, nil
}

// ownHome gives the app's user its home, and the pipes of its output: what
// opens /dev/stdout needs to be their owner.
func (l *launcher) ownHome() error {
	uid, gid := int(l.places.uid), int(l.places.gid)
	if err := os.MkdirAll(l.places.home, 0o755); err != nil {
		return err
	}
	for _, f := range []*os.File{os.Stdout, os.Stderr} {
		_ = f.Chown(uid, gid) // not every kind of file can be given away
	}
	if info, err := os.Stat(l.places.home); err == nil {
		if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid == l.places.uid {
			return nil
		}
	}
	return os.Chown(l.places.home, uid, gid)
}

// unpackDroplet lets a child that is the app's user already unpack what fence
// sends.
func (l *launcher) unpackDroplet(ctx context.Context) error {
	body, err := l.fence.droplet(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	child, err := l.children.start(command{
		path: "/proc/self/exe", args: []string{"stackato-launcher", unpackArg}, dir: "/", env: []string{"GOMAXPROCS=2"},
		stdin: r, uid: l.places.uid, gid: l.places.gid,
	})
	r.Close()
	if err != nil {
		w.Close()
		return fmt.Errorf("unpack the droplet: %w", err)
	}
	_, copyErr := io.Copy(w, body)
	w.Close()
	if status := <-child.done; status != 0 {
		return fmt.Errorf("the droplet could not be unpacked (status %d)", status)
	}
	if copyErr != nil {
		return fmt.Errorf("read the droplet: %w", copyErr)
	}
	return nil
}

// keystoreName is Java's file beside the bundle.
const keystoreName = "trusted-ca.jks"

// bundle writes the trusted authorities and returns the file, or "": an app
// that needs none of them must not fail for it.
func (l *launcher) bundle(ctx context.Context) string {
	pem, err := l.fence.certificates(ctx)
	file := filepath.Join(l.places.certificates, "trusted-ca.crt")
	if err == nil {
		err = os.MkdirAll(l.places.certificates, 0o755)
	}
	if err == nil {
		err = os.WriteFile(file, pem, 0o644)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(l.places.certificates, keystoreName), javaKeystore(pem), 0o644)
	}
	if err != nil {
		if ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "stackato: trusted certificates:", err)
		}
		return ""
	}
	return file
}

// start starts the sidecars and the app, which is the first in the answer.
func (l *launcher) start(spec instance.Spec, env []string) ([]*process, error) {
	commands := []string{spec.Command}
	for _, s := range spec.Sidecars {
		commands = append(commands, s.Command)
	}
	var err error
	l.output, err = newRelay(os.Stdout, os.Stderr, int(l.places.uid), int(l.places.gid))
	if err != nil {
		return nil, err
	}
	var processes []*process
	for _, c := range commands {
		p, err := l.children.start(command{
			path: l.places.shell, args: []string{"bash", "-c", profileScript, l.places.shell, c},
			dir: l.places.home + "/app", env: env, output: l.output, uid: l.places.uid, gid: l.places.gid,
		})
		if err != nil {
			l.finish(processes)
			return nil, fmt.Errorf("start the app: %w", err)
		}
		processes = append(processes, p)
	}
	return processes, nil
}

// profileScript runs what sets up the environment, then becomes the command:
// scripts of buildpacks, then the app's own, as in Cloud Foundry. When memory is
// full the kernel is to end the app, and not the launcher, which says why, or
// something of the node.
const profileScript = `
{ echo 1000 >/proc/self/oom_score_adj; } 2>/dev/null
for script in ../profile.d/* .profile.d/*; do
  if [ -f "$script" ]; then . "$script"; fi
done
if [ -f .profile ]; then . .profile; fi
unset script
exec "$0" -c "$1"
`
