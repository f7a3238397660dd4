package test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bench is a machine, not bare: programs of its own stand first on PATH.
type bench struct {
	*machine
	path, data string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	m := newMachine(t)
	b := &bench{machine: m, path: filepath.Join(m.dir, "path"), data: filepath.Join(m.dir, "data")}
	must(t, os.Mkdir(b.path, 0o755))
	return b
}

// program puts a shell script on PATH.
func (b *bench) program(name, text string) {
	b.t.Helper()
	must(b.t, os.WriteFile(filepath.Join(b.path, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755))
}

// without makes PATH hold everything that the system has, but some programs.
func (b *bench) without(names ...string) {
	b.t.Helper()
	for _, dir := range []string{"/usr/sbin", "/usr/bin"} {
		entries, err := os.ReadDir(dir)
		must(b.t, err)
		for _, e := range entries {
			_ = os.Symlink(filepath.Join(dir, e.Name()), filepath.Join(b.path, e.Name())) // some are in both
		}
	}
	for _, name := range names {
		if err := os.Remove(filepath.Join(b.path, name)); err != nil && !os.IsNotExist(err) {
			b.t.Fatal(err)
		}
	}
}

// working are programs that do nothing, well: Docker answers and has every
// image, so that a script comes to what is after it.
func (b *bench) working() {
	b.program("docker", "exit 0")
	b.program("make", "exit 0")
}

// small makes a directory that has room for a few MiB.
func (b *bench) small(name string) string {
	b.t.Helper()
	dir := filepath.Join(b.dir, name)
	must(b.t, os.Mkdir(dir, 0o755))
	out, err := b.command(b.t.Context(), b.root, nil, "mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", dir).CombinedOutput()
	if err != nil {
		b.t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// TestFailuresSayWhatToDo lets the scripts fail in the ways that machines make
// them fail. Each says what was tried, shows the cause and names a remedy. What
// can really be had is: full disks, taken ports, damaged data.
func TestFailuresSayWhatToDo(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(*bench)
		command string // DATA is the data directory, BENCH the test's
		want    []string
	}{
		{
			"no root", func(b *bench) { b.program("id", "echo 1000") }, "scripts/micro start DATA",
			[]string{"make micro needs root", "run it again with sudo, or as root"},
		},
		{
			"no root for packages", func(b *bench) { b.program("id", "echo 1000") }, "scripts/packages no-such-package",
			[]string{"installing packages (no-such-package) needs root", "run it again with sudo"},
		},
		{
			"no root for Docker", func(b *bench) { b.program("id", "echo 1000") }, "scripts/docker",
			[]string{"starting the Docker Engine needs root", "run it again with sudo"},
		},
		{
			"no Go", func(b *bench) { b.without("go") }, "scripts/tools",
			[]string{"go is not on PATH", "install Go 1.26 or newer: https://go.dev/dl/"},
		},
		{
			"no apt-get", func(b *bench) { b.without("apt-get") }, "scripts/packages no-such-package",
			[]string{"apt-get is missing; packages wanted: no-such-package", "use Debian 12, or install"},
		},
		{
			"apt fails", func(b *bench) { b.program("apt-get", "echo E: Could not resolve deb.example >&2; exit 100") }, "scripts/packages no-such-package",
			[]string{"Could not resolve deb.example", "packages could not be installed", "check the network and /etc/apt/sources.list*, then run this again", "wanted: no-such-package"},
		},
		{
			"no Docker", func(b *bench) { b.without("docker") }, "scripts/docker",
			[]string{"no docker client on PATH", "run scripts/packages first"},
		},
		{
			"Docker does not start", func(b *bench) { b.program("dockerd", "echo failed to start daemon: no storage driver >&2; exit 1") }, "scripts/docker",
			[]string{"failed to start daemon: no storage driver", "dockerd ended at once", "run this again"},
		},
		{
			"the disk is full: data", func(b *bench) { b.working(); b.small("data") }, "scripts/micro start DATA",
			[]string{"a micro cloud, with room to build apps in, needs about 6000 MiB, and", "has 4 MiB left", "make room there and run this again"},
		},
		{
			"the disk is full: stack", func(b *bench) { b.program("docker", "exit 1"); b.small("cache") }, "env XDG_CACHE_HOME=BENCH/cache scripts/stack full",
			[]string{"building the full stack needs about 6000 MiB", "has 4 MiB left", "make room there"},
		},
		{
			"the build fails", func(b *bench) { b.working(); b.program("make", "echo main.go:1: undefined: x >&2; exit 2") }, "scripts/micro start DATA",
			[]string{"main.go:1: undefined: x", "the build failed", "is Go 1.26 or newer installed?"},
		},
		{"the stack cannot be built", func(b *bench) {
			b.program("docker", "exit 1")
			b.program("mmdebstrap", "echo E: unreachable >&2; exit 1")
		}, "env XDG_CACHE_HOME=BENCH/cache scripts/stack small", []string{"E: unreachable", "the small stack could not be built", "run this again"}},
		{
			"no data directory", func(b *bench) { must(b.t, os.WriteFile(b.data, nil, 0o600)) }, "scripts/micro start DATA",
			[]string{"/data is not a directory", "make micro DATA=/DIR"},
		},
		{"damaged data", func(b *bench) {
			b.working()
			must(b.t, os.MkdirAll(b.data, 0o755))
			must(b.t, os.WriteFile(filepath.Join(b.data, "node.json"), []byte("{"), 0o600))
		}, "scripts/micro start DATA", []string{"the agent ended at once", "node.json", "if the data are damaged and may go: make micro-reset DATA="}},
		{"a port is taken", func(b *bench) {
			b.working()
			stop, err := b.listen("127.0.0.1:8500")
			must(b.t, err)
			b.t.Cleanup(func() { stop() })
		}, "scripts/micro start DATA", []string{"others listen where the micro cloud has to:", "port 8500:", "stop them and run this again; to see who listens where: ss -ltnp"}},
		{
			"not a micro cloud", func(b *bench) { must(b.t, os.Mkdir(b.data, 0o755)) }, "scripts/micro reset -y DATA",
			[]string{"does not look like an agent's data directory", "delete it by hand if it is one"},
		},
		{"unknown action", func(*bench) {}, "scripts/micro begin", []string{"unknown action: begin", "usage: scripts/micro start|stop|reset"}},
		{"unknown stack", func(*bench) {}, "scripts/stack big", []string{"which stack? big was asked for", "usage: scripts/stack"}},
		{"unknown kind of run", func(*bench) {}, "scripts/test big", []string{"unknown kind of test run: big", "usage: scripts/test"}},
		{"unknown tool", func(*bench) {}, "scripts/tools make", []string{"unknown tool: make", "known: nomad"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			tt.prepare(b)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			path := "PATH=" + b.path + ":" + os.Getenv("PATH")
			if _, err := os.Lstat(filepath.Join(b.path, "sed")); err == nil { // everything is there
				path = "PATH=" + b.path
			}
			text := strings.NewReplacer("DATA", b.data, "BENCH", b.dir).Replace(tt.command)
			args := strings.Fields(text)
			out, err := b.command(ctx, b.root, nil, "env", append([]string{path}, args...)...).CombinedOutput()
			for _, want := range append(tt.want, "error: ") {
				if err == nil || !strings.Contains(string(out), want) {
					t.Errorf("%s: %v, does not say %q:\n%s", text, err, want, out)
				}
			}
		})
	}
}

// TestEngineKeepsNoLock: who waits for a lock that was held while the Docker
// Engine was started does not wait for the engine's end.
func TestEngineKeepsNoLock(t *testing.T) {
	b := newBench(t)
	b.program("dockerd", "ls -l /proc/$$/fd; exit 1")
	lock := filepath.Join(b.dir, "lock")
	must(t, os.WriteFile(lock, nil, 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, _ := b.command(ctx, b.root, nil, "env", "PATH="+b.path+":"+os.Getenv("PATH"),
		"sh", "-c", `exec 7<"$1"; exec scripts/docker`, "sh", lock).CombinedOutput()
	if !strings.Contains(string(out), "0 -> /dev/null") || strings.Contains(string(out), lock) {
		t.Errorf("the engine has open:\n%s", out)
	}
}

// TestOneMicroAtATime: two of them at once would start two agents on the same
// data. The second waits, and says so.
func TestOneMicroAtATime(t *testing.T) {
	b := newBench(t)
	b.working()
	b.program("make", `: >"$BENCH/building"; while [ ! -e "$BENCH/seen" ]; do sleep 0.1; done; exit 1`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	start := func(action string) (said func() string, ended chan error) {
		out := filepath.Join(b.dir, action)
		cmd := b.command(ctx, b.root, nil, "env", "PATH="+b.path+":"+os.Getenv("PATH"), "BENCH="+b.dir,
			"sh", "-c", `exec scripts/micro "$1" "$2" >"$3" 2>&1`, "sh", action, b.data, out)
		must(t, cmd.Start())
		ended = make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		return func() string { text, _ := os.ReadFile(out); return string(text) }, ended
	}
	_, first := start("start")
	eventually(ctx, t, "the first builds", func() error {
		_, err := os.Stat(filepath.Join(b.dir, "building"))
		return err
	})
	said, second := start("stop")
	eventually(ctx, t, "the second waits", func() error {
		if text := said(); !strings.Contains(text, "another make micro, micro-stop or micro-reset is at work: waiting") {
			return errors.New(text)
		}
		return nil
	})
	must(t, os.WriteFile(filepath.Join(b.dir, "seen"), nil, 0o600))
	if err := <-first; err == nil {
		t.Error("the first one's build did not fail")
	}
	if err := <-second; err != nil {
		t.Errorf("the second: %v:\n%s", err, said())
	}
}

// TestStepsShowProgress: on a terminal every step counts its seconds. Each
// program here goes on only when it was seen to.
func TestStepsShowProgress(t *testing.T) {
	const held = `while [ ! -e "$BENCH/seen" ]; do sleep 0.1; done; `
	tests := []struct {
		name    string
		prepare func(*bench)
		command string
		label   string
	}{
		{"package lists", func(b *bench) { b.program("apt-get", held+"exit 100") }, "scripts/packages no-such-package", "reading package lists"},
		{"packages", func(b *bench) { b.program("apt-get", `case "$*" in *update) exit 0 ;; esac; `+held+"exit 100") }, "scripts/packages no-such-package", "installing no-such-package"},
		{"Docker", func(b *bench) { b.program("dockerd", held+"exit 1") }, "scripts/docker", "starting the Docker Engine"},
		{"binaries", func(b *bench) { b.working(); b.program("make", held+"exit 1") }, "scripts/micro start DATA", "building the agent, kato and the programs of containers"},
		{"stack", func(b *bench) {
			b.program("docker", "exit 1")
			b.program("mmdebstrap", held+"exit 1")
		}, "env XDG_CACHE_HOME=BENCH/cache scripts/stack small", "building the small stack (once per machine)"},
		{"binaries for tests", func(b *bench) { b.working(); b.program("make", held+"exit 1") }, "scripts/test full", "building the binaries"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			tt.prepare(b)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			args := strings.Fields(strings.NewReplacer("DATA", b.data, "BENCH", b.dir).Replace(tt.command))
			env := []string{"PATH=" + b.path + ":" + os.Getenv("PATH"), "BENCH=" + b.dir}
			seen := false
			out, err := newTerminal(t).run(b.command(ctx, b.root, nil, "env", append(env, args...)...), func(shown string) {
				if !seen && strings.Contains(shown, tt.label+" … 1s") {
					seen = true
					must(t, os.WriteFile(filepath.Join(b.dir, "seen"), nil, 0o600))
				}
			})
			if !seen || err == nil || !strings.Contains(out, tt.label+": FAILED after") {
				t.Errorf("%v, the counter was seen: %v:\n%s", err, seen, out)
			}
		})
	}
}

// TestBesideMicroCloud: a run of tests that makes or takes away what belongs to
// a micro cloud of the machine fails and says what.
func TestBesideMicroCloud(t *testing.T) {
	tests := []struct {
		name, does string // what the tests do; $MICRO is the micro cloud's data directory
		want       []string
	}{
		{"nothing", "", nil},
		{"directory", `mkdir -p "$MICRO"`, []string{"+the directory "}},
		{"hosts", `echo "# begin stackato: x" >>/etc/hosts`, []string{"+names in /etc/hosts"}},
		{"firewall", "iptables -N STACKATO-INPUT", []string{"+the firewall chains STACKATO-*"}},
		{"its agent", `kill "$(cat "$MICRO/run/micro.pid")"; while kill -0 "$(cat "$MICRO/run/micro.pid")"; do :; done`, []string{"-process "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.program("go", "case $1 in test) "+tt.does+"\n;; esac")
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			text := "exec scripts/test short"
			if strings.Contains(tt.does, "micro.pid") {
				text = `mkdir -p "$MICRO/run"; sleep 600 & echo $! >"$MICRO/run/micro.pid"; disown; ` + text
			}
			env := []string{"PATH=" + b.path + ":" + os.Getenv("PATH"), "MICRO=" + b.data, "STACKATO_MICRO_DATA=" + b.data}
			out, err := b.command(ctx, b.root, env, "bash", "-c", text).CombinedOutput()
			if (err != nil) != (tt.want != nil) || strings.Contains(string(out), "has changed") != (tt.want != nil) {
				t.Errorf("%v:\n%s", err, out)
			}
			for _, want := range append(tt.want, "tests (short): ") {
				if !strings.Contains(string(out), want) {
					t.Errorf("does not say %q:\n%s", want, out)
				}
			}
		})
	}
}
