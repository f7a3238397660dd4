package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stackato/stackato/agent/local"
)

// TestMain lets the test binary be the program: a process of its own, with
// real signals and exit codes.
func TestMain(m *testing.M) {
	if os.Getenv("BE_STACKATO_AGENT") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// box is a machine with a configuration file.
type box struct {
	t    *testing.T
	dir  string
	addr string
	rpc  int
}

func newBox(t *testing.T, name string) *box {
	t.Helper()
	dir, err := os.MkdirTemp("", "sa") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &box{t: t, dir: dir, addr: fmt.Sprintf("127.0.4.%d", 1+rand.N(250))}
	b.rpc = b.port()
	b.write("agent.yml", fmt.Sprintf(`data_dir: %s/data
name: %s
advertise: %s
children: false
role_groups: %s/role_groups.yml
hosts_file: %s/hosts
ports: {rpc: %d, gossip: %d, http: %d, api: %d, router_http: %d, router_https: %d, router_health: %d}
`, dir, name, b.addr, dir, dir, b.rpc, b.port(), b.port(), b.port(), b.port(), b.port(), b.port()))
	return b
}

// given are the ports that boxes of this process have.
var given sync.Map

// port returns a TCP and UDP port that no box has, below those that the system
// gives to clients and Nomad to apps.
func (b *box) port() int {
	for range 100 {
		p := 10000 + rand.N(10000)
		if _, taken := given.LoadOrStore(p, true); taken {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("0.0.0.0:%d", p))
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", fmt.Sprintf("0.0.0.0:%d", p))
		l.Close()
		if err == nil {
			u.Close()
			return p
		}
	}
	b.t.Fatal("no free port")
	return 0
}

func (b *box) write(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

func (b *box) command(stdin string, args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	self, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{"--config", filepath.Join(b.dir, "agent.yml")}, args...)...)
	cmd.Env = append(os.Environ(), "BE_STACKATO_AGENT=1")
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	return cmd, &out, &errs
}

// run runs a command that must succeed and returns its output.
func (b *box) run(stdin string, args ...string) string {
	b.t.Helper()
	cmd, out, errs := b.command(stdin, args...)
	if err := cmd.Run(); err != nil {
		b.t.Fatalf("%v: %v\n%s%s", args, err, out, errs)
	}
	return out.String()
}

// fail runs a command that must be refused and checks what it says.
func (b *box) fail(stdin string, args, want []string) {
	b.t.Helper()
	cmd, out, errs := b.command(stdin, args...)
	err := cmd.Run()
	if cmd.ProcessState.ExitCode() != 1 {
		b.t.Errorf("%v: %v, want exit code 1\n%s", args, err, out)
	}
	for _, w := range want {
		if !strings.Contains(errs.String(), w) {
			b.t.Errorf("%v says\n%s\nnot %q", args, errs, w)
		}
	}
}

// daemon starts the agent; stop ends it with a signal.
func (b *box) daemon(args ...string) (stop func(syscall.Signal)) {
	b.t.Helper()
	cmd, _, errs := b.command("", append([]string{"run"}, args...)...)
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	over := false
	stop = func(s syscall.Signal) {
		b.t.Helper()
		if over {
			return
		}
		over = true
		_ = cmd.Process.Signal(s)
		select {
		case err := <-ended:
			if err != nil && s != syscall.SIGKILL {
				b.t.Errorf("the daemon ended with %v:\n%s", err, errs)
			}
		case <-time.After(time.Minute):
			_ = cmd.Process.Kill()
			b.t.Errorf("the daemon does not end:\n%s", errs)
		}
	}
	b.t.Cleanup(func() { stop(syscall.SIGKILL) })
	b.await(func(ctx context.Context) error { _, err := b.api().Info(ctx); return err })
	return stop
}

func (b *box) api() *local.Client {
	return local.NewClient(filepath.Join(b.dir, "data", "run", "agent.sock"))
}

func (b *box) await(ok func(context.Context) error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		err := ok(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			b.t.Fatal(err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (b *box) healthy() { b.await(b.api().Health) }

func TestCommands(t *testing.T) {
	t.Parallel()
	a, b := newBox(t, "n1"), newBox(t, "n2")
	if out := a.run("", "version"); strings.TrimSpace(out) == "" {
		t.Error("version prints nothing")
	}

	// init before run, join while it runs, with the token from standard input.
	if out := a.run("", "init", "--roles", "dea"); !strings.Contains(out, "Node n1 is the first of cluster") || !strings.Contains(out, "First log-in: admin, password ") {
		t.Errorf("init says %q", out)
	}
	a.fail("", []string{"init"}, []string{`holds the data of node "n1"`, "→ leave that cluster first"})
	stopA := a.daemon()
	a.healthy()
	a.fail("", []string{"init"}, []string{`holds the data of node "n1"`})
	token := a.run("", "token", "create", "--roles", "dea")
	stopB := b.daemon()
	primary := fmt.Sprintf("%s:%d", a.addr, a.rpc)
	b.fail("", []string{"join", primary}, []string{"no join token", "--token-file"})
	b.fail("rubbish", []string{"join", primary, "--token-file", "-"}, []string{"this is not a join token", "→"})
	b.fail("", []string{"join", primary, "--token-file", filepath.Join(b.dir, "none")}, []string{"join token", "no such file"})
	if out := b.run(token, "join", primary, "--token-file", "-", "--roles", "dea", "--zone", "z1"); !strings.Contains(out, "Node n2 has joined cluster") {
		t.Errorf("join says %q", out)
	}
	b.healthy()
	list := a.run("", "token", "list")
	if strings.Contains(list, strings.TrimSpace(token)) || !strings.Contains(list, strings.Split(token, ".")[1]) {
		t.Errorf("token list prints %q", list)
	}
	second := a.run("", "token", "create", "--json")
	if !strings.Contains(second, `"token":"stk1.`) {
		t.Errorf("token create --json prints %q", second)
	}
	a.run("", "token", "revoke", strings.Split(strings.Split(second, `"token":"`)[1], ".")[1])

	// A second daemon is refused, and so is a reset under the daemon.
	a.fail("", []string{"run"}, []string{"is in use by another stackato-agent"})
	b.fail("", []string{"reset"}, []string{"--yes"})
	b.fail("", []string{"reset", "--yes"}, []string{"in use by another stackato-agent"})

	// kill -9 loses nothing; SIGTERM ends in order.
	stopA(syscall.SIGKILL)
	stopA = a.daemon()
	a.healthy()
	if out := b.run("", "leave"); !strings.Contains(out, "in no cluster any more") {
		t.Errorf("leave says %q", out)
	}
	a.fail("", []string{"leave"}, []string{"last controller", "kato role add controller"})
	stopB(syscall.SIGTERM)
	stopA(syscall.SIGINT)
	a.fail("", []string{"token", "create"}, []string{"no agent answers", "is stackato-agent running?"})
	if out := a.run("", "reset", "--yes"); !strings.Contains(out, "in no cluster any more") {
		t.Errorf("reset says %q", out)
	}
	if _, err := os.Stat(filepath.Join(a.dir, "data", "node.json")); !os.IsNotExist(err) {
		t.Errorf("reset left the identity: %v", err)
	}
}

func TestRunMicro(t *testing.T) {
	t.Parallel()
	b := newBox(t, "m1")
	stop := b.daemon("--micro")
	b.healthy()
	info, err := b.api().Info(context.Background())
	if err != nil || info.Type != local.TypeMicro || info.Name != "m1" {
		t.Errorf("info %+v, %v", info, err)
	}
	stop(syscall.SIGTERM)
	stop = b.daemon("--micro") // again: what there is stays
	b.healthy()
	again, err := b.api().Info(context.Background())
	if err != nil || again.ID != info.ID {
		t.Errorf("info %+v, %v", again, err)
	}
	stop(syscall.SIGTERM)
}

func TestReadyNotification(t *testing.T) {
	b := newBox(t, "s1")
	path := filepath.Join(b.dir, "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	stop := b.daemon()
	buf := make([]byte, 100)
	for _, want := range []string{"READY=1", "STOPPING=1"} {
		if want == "STOPPING=1" {
			stop(syscall.SIGTERM)
		}
		if err := l.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, err := l.Read(buf)
		if err != nil || string(buf[:n]) != want {
			t.Errorf("got %q, %v, want %q", buf[:n], err, want)
		}
	}
}

func TestConfigurationRefused(t *testing.T) {
	t.Parallel()
	b := newBox(t, "c1")
	for text, want := range map[string]string{
		"data_dir: /x\nnickname: n1\n":      "line 2: field nickname not found",
		"data_dir: /x\nports: {rpc: abc}":   "line 2: cannot unmarshal",
		"data_dir: relative\n":              `data_dir "relative" is not an absolute path`,
		"data_dir: /x\ntiming: fast\n":      "timing: unknown timing profile",
		"data_dir: /x\nadvertise: fd00::1":  "advertise: IPv6-only nodes are not supported yet",
		"data_dir: /x\nports: {rpc: 70000}": "ports.rpc: 70000 is not from 1 to 65535",
	} {
		b.write("agent.yml", text)
		b.fail("", []string{"run"}, []string{want})
	}
}
