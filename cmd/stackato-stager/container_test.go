package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stackato/stackato/wire/staging"
)

// image returns the name of a stack's image, which is made if it is missing.
func image(t *testing.T, variant string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("stages in a container: not in -short")
	}
	if os.Getuid() != 0 {
		t.Skip("stages in a container: needs root")
	}
	if os.Getenv("STACKATO_TEST_DOCKER") != "1" && exec.Command("docker", "info").Run() != nil {
		t.Skip("no Docker Engine answers; set STACKATO_TEST_DOCKER=1 to make this an error")
	}
	out, err := exec.CommandContext(t.Context(), "../../scripts/stack", variant).CombinedOutput()
	if err != nil {
		t.Fatalf("scripts/stack %s: %v\n%s", variant, err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// static returns this program as it is shipped, built once.
var static = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "stager")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "stackato-stager")
	build := exec.Command("go", "build", "-o", name, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return os.ReadFile(name)
})

// yard is a node's directory for containers, with a fence behind its socket.
type yard struct {
	*fence
	dir, image string
	memory     string
}

func newYard(t *testing.T, variant string) *yard {
	t.Helper()
	y := &yard{image: image(t, variant), memory: "256m"}
	var err error
	if y.dir, err = os.MkdirTemp("", "yard"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(y.dir) })
	for name, mode := range map[string]os.FileMode{".": 0o755, "bin": 0o755, "run": 0o700} {
		if err := os.MkdirAll(filepath.Join(y.dir, name), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(y.dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	program, err := static()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(y.dir, "bin", "stackato-stager"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	y.fence = newFence(t, filepath.Join(y.dir, "run"))
	return y
}

// labels says whose the containers of this process are. Other test runs remove
// those whose owner has ended, see test/cluster.
func labels(t *testing.T) []string {
	t.Helper()
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	owner := fmt.Sprintf("%d.%s", os.Getpid(), fields[19]) // with its start time
	return []string{"--label", "stackato.owner=" + owner, "--label", "stackato.test=" + cmp.Or(os.Getenv("STACKATO_TEST_RUN"), owner)}
}

// docker runs a command and returns its output.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// start begins staging, with the rights that jobs/ gives, and returns the
// container.
func (y *yard) start(t *testing.T, more ...string) string {
	t.Helper()
	args := []string{
		"run", "--detach", "--user", "root",
		"--cap-drop", "ALL", "--cap-add", "SETUID", "--cap-add", "SETGID", "--cap-add", "CHOWN", "--cap-add", "KILL",
		"--security-opt", "no-new-privileges", "--pids-limit", "1024", "--memory", y.memory, "--memory-swap", y.memory,
		"--volume", y.dir + ":/stackato:ro", "--entrypoint", "/stackato/bin/stackato-stager",
	}
	id := strings.TrimSpace(docker(t, slices.Concat(args, labels(t), more, []string{y.image})...))
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "--force", id).Run() })
	return id
}

// stage stages to the end and returns the result and the log.
func (y *yard) stage(t *testing.T, more ...string) (staging.Result, string) {
	t.Helper()
	id := y.start(t, more...)
	code := strings.TrimSpace(docker(t, "wait", id))
	log := docker(t, "logs", id)
	if code != "0" {
		t.Fatalf("exit code %s\n%s", code, log)
	}
	return y.fence.result(t), log
}

// inDroplet runs a script where the droplet is unpacked, as an app would.
func (y *yard) inDroplet(t *testing.T, script string) string {
	t.Helper()
	args := slices.Concat([]string{"run", "--rm", "--interactive"}, labels(t), []string{
		"--network", "none", "--user", "2000:2000", "--cap-drop", "ALL", "--workdir", "/home/vcap/app", "--env", "HOME=/home/vcap/app", "--env", "PORT=8080",
		y.image, "bash", "-c", "tar -xzf - -C /home/vcap; set -e; for f in /home/vcap/profile.d/*.sh; do . \"$f\"; done\n" + script,
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stdin = bytes.NewReader(y.uploaded("droplet"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in the droplet: %v\n%s", err, out)
	}
	return string(out)
}

func TestStaticfileInContainer(t *testing.T) {
	y := newYard(t, "small")
	y.spec.Detect = true
	y.spec.Buildpacks = []staging.Buildpack{{Name: "staticfile_buildpack", Builtin: "staticfile_buildpack"}}
	y.spec.Package = y.add(zipOf(t, map[string]string{
		"Staticfile":        "root: dist\npushstate: enabled\nhost_dot_files: false\nnonsense: 1\nstatus_codes:\n  404: /404.html\n",
		"Staticfile.auth":   "bob:{PLAIN}bob\n",
		"dist/index.html":   "hello from nginx",
		"dist/docs/it.html": "docs",
		"dist/.hidden":      "hidden",
		"secret.txt":        "not served",
	}))
	result, log := y.stage(t)
	if result.Error != "" || result.ProcessTypes["web"] != "$HOME/boot.sh" || result.Buildpacks[0].DetectOutput != "staticfile" {
		t.Fatalf("%+v\n%s", result, log)
	}
	for _, line := range []string{`"nonsense" is not known`, "Enabling pushstate", "Enabling basic authentication"} {
		if !strings.Contains(log, line) {
			t.Errorf("the log does not say %q:\n%s", line, log)
		}
	}
	out := y.inDroplet(t, `
"$HOME/boot.sh" >/tmp/log 2>&1 &
for i in $(seq 600); do curl -s -o /dev/null localhost:8080 && break; sleep 0.1; done
get() { curl -s -u bob:bob -w ' %{http_code}\n' "localhost:8080$1"; }
curl -s -o /dev/null -w 'no password: %{http_code}\n' localhost:8080
for path in / /docs/it.html /deep/link /.hidden; do echo "$path: $(get "$path" | tr '\n' ' ')"; done
etag=$(curl -s -u bob:bob -I localhost:8080/ | sed -n 's/^ETag: //p' | tr -d '\r')
curl -s -o /dev/null -u bob:bob -H "If-None-Match: $etag" -w 'same: %{http_code}\n' localhost:8080/
kill %1; wait %1 || true
grep -c 'GET /deep/link' /tmp/log
`)
	for _, line := range []string{
		"no password: 401", "/: hello from nginx 200", "/docs/it.html: docs 200", "/deep/link: hello from nginx 200",
		"/.hidden: ", "same: 304",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("no %q in:\n%s", line, out)
		}
	}
	if strings.Contains(out, "hidden 200") || !strings.HasSuffix(strings.TrimSpace(out), "1") {
		t.Errorf("dot files are served, or nothing is logged:\n%s", out)
	}
}

func TestStrangersCodeHasNoRights(t *testing.T) {
	y := newYard(t, "small")
	y.spec.Package = y.add(zipOf(t, map[string]string{"Procfile": "web: true"}))
	y.withPack(t, map[string]string{"compile": `
echo "user $(id -u):$(id -G)"
grep -E '^(CapEff|CapPrm|CapAmb|NoNewPrivs)' /proc/self/status
ls /stackato/run 2>&1 || true
echo '{}' | curl -s --max-time 5 --unix-socket /stackato/run/fence.sock http://fence/v1/build || echo "socket refused: $?"
kill -9 1 2>&1 || true
cat /proc/1/environ /proc/1/mem 2>&1 | head -c 300 || true
touch /etc/x /stackato/bin/x 2>&1 || true
echo to-stderr >/dev/stderr
(sleep 0.1; sleep 1000) &
`})
	result, log := y.stage(t)
	if result.Error != "" {
		t.Fatalf("%+v\n%s", result, log)
	}
	for _, line := range []string{
		"user 2000:2000\n", "CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n", "NoNewPrivs:\t1\n",
		"ls: cannot open directory '/stackato/run': Permission denied", "socket refused: 7", "Operation not permitted",
		"/proc/1/environ: Permission denied", "cannot touch '/etc/x'", "to-stderr\n",
	} {
		if !strings.Contains(log, line) {
			t.Errorf("no %q in:\n%s", line, log)
		}
	}
}

func TestMemoryLimitInContainer(t *testing.T) {
	y := newYard(t, "small")
	y.memory = "64m"
	y.spec.MemoryMB = 64
	y.spec.Package = y.add(zipOf(t, map[string]string{"x": ""}))
	y.withPack(t, map[string]string{"compile": `python3 -c 'x = bytearray(200 << 20)'`})
	result, log := y.stage(t)
	if result.Error != staging.ErrOutOfMemory || !strings.Contains(result.Detail, "more memory than its limit of 64 MB") {
		t.Errorf("%+v\n%s", result, log)
	}
}

// TestStopEndsAtOnce: what Nomad does when a build is cancelled.
func TestStopEndsAtOnce(t *testing.T) {
	y := newYard(t, "small")
	y.spec.Package = y.add(zipOf(t, map[string]string{"x": ""}))
	y.withPack(t, map[string]string{"compile": `trap '' TERM; echo began; while :; do sleep 1; done`})
	id := y.start(t)
	logs := exec.CommandContext(t.Context(), "docker", "logs", "--follow", id)
	pipe, err := logs.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := logs.Start(); err != nil {
		t.Fatal(err)
	}
	var seen []byte
	for buf := make([]byte, 512); !bytes.Contains(seen, []byte("began")); {
		n, err := pipe.Read(buf)
		if err != nil {
			t.Fatalf("%v\n%s", err, seen)
		}
		seen = slices.Concat(seen, buf[:n])
	}
	docker(t, "kill", "--signal", "TERM", id)
	if code := strings.TrimSpace(docker(t, "wait", id)); code != "143" { // 137 would be a kill
		t.Errorf("exit code %s\n%s", code, docker(t, "logs", id))
	}
	_ = logs.Wait()
}
