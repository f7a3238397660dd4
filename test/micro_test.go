package test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/test/cluster"
)

// TestMicroCloud takes a micro cloud through its life with the script that
// make micro, micro-stop and micro-reset call. It has a network namespace of
// its own: a micro cloud of the machine can be up beside it.
func TestMicroCloud(t *testing.T) {
	cluster.Require(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	data := filepath.Join(t.TempDir(), "data")
	ns := newNamespace(t)
	micro := func(args ...string) (string, error) {
		cmd := ns.command(ctx, "../scripts/micro", append(args, data)...)
		cmd.Env = append(os.Environ(), "STACK=small", "SAMPLE=no", "STACKATO_HOSTS_FILE="+filepath.Join(filepath.Dir(data), "hosts")) // containers are not reached from the namespace
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		return out.String(), err
	}
	t.Cleanup(func() {
		stop := ns.command(context.WithoutCancel(ctx), "../scripts/micro", "reset", "-y", data)
		_ = stop.Run() // after the test's own reset there is nothing left
	})
	want := func(out string, err error, texts ...string) {
		t.Helper()
		if err != nil {
			t.Fatalf("%v:\n%s", err, out)
		}
		for _, text := range texts {
			if !strings.Contains(out, text) {
				t.Fatalf("%q is missing in:\n%s", text, out)
			}
		}
	}
	key := func() string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(data, "pki", "node.key"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}

	out, err := micro("start")
	want(out, err, "starting the micro cloud: done in", "controller  running", "dea         running", "The micro cloud runs",
		data, "http://127.0.0.1:8500/ui", "http://127.0.0.1:4646/ui", "make micro-stop DATA="+data)
	first := key()

	began := time.Now()
	out, err = micro("start")
	want(out, err, "The micro cloud runs")
	if took := time.Since(began); took > 20*time.Second || strings.Contains(out, "starting the micro cloud") {
		t.Errorf("the second start took %s:\n%s", took, out)
	}

	out, err = micro("stop")
	want(out, err, "stopping the agent: done in", "stopping nomad: done in", "stopping consul: done in", "are kept")
	if left := processesOn(t, data); left != "" {
		t.Errorf("micro stop has left:\n%s", left)
	}
	out, err = micro("start")
	want(out, err, "The micro cloud runs")
	if key() != first {
		t.Error("the node has another key after stop and start")
	}

	if out, err = micro("reset"); err == nil || !strings.Contains(out, "FORCE=1 make micro-reset") || key() != first {
		t.Errorf("reset without a terminal did not refuse: %v\n%s", err, out)
	}
	out, err = micro("reset", "-y")
	want(out, err, "deleted "+data)
	if _, err := os.Stat(data); !os.IsNotExist(err) {
		t.Errorf("the data are still there: %v", err)
	}
	if left := processesOn(t, data); left != "" {
		t.Errorf("micro reset has left:\n%s", left)
	}
}

// namespace is a network namespace with nothing but loopback.
type namespace struct{ path string }

// newNamespace lives as long as the test, held by a process that waits. By the
// file in its command line scripts/test finds it when the test was killed.
func newNamespace(t *testing.T) namespace {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hold")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	holder := exec.Command("unshare", "--net", "sh", "-c",
		// The chain is what Docker makes where it runs: fence looks for it.
		`ip link set lo up && iptables -N DOCKER-USER && iptables -A FORWARD -j DOCKER-USER && echo up && exec tail -f "$0"`, file)
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = holder.Process.Kill() // it may have ended
		_ = holder.Wait()
	})
	if _, err := out.Read(make([]byte, 3)); err != nil {
		t.Fatalf("no network namespace: %v", err)
	}
	return namespace{filepath.Join("/proc", strconv.Itoa(holder.Process.Pid), "ns", "net")}
}

// command runs a program in the namespace, without a terminal.
func (n namespace) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + n.path, name}, args...)...)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// processesOn lists processes whose command line names the directory.
func processesOn(t *testing.T, dir string) string {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found strings.Builder
	for _, l := range lines {
		if b, err := os.ReadFile(l); err == nil && bytes.Contains(b, []byte(dir+"/")) {
			found.WriteString(strings.ReplaceAll(string(b), "\x00", " ") + "\n")
		}
	}
	return found.String()
}
