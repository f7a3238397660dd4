package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
)

// patience bounds every wait for a condition. It is long because tests share
// two cores; a condition that holds ends its wait at once.
const patience = 30 * time.Second

// machine is a machine with an agent: real files, sockets, TLS, Raft and
// gossip on an address of its own on loopback. Consul and Nomad do not run.
type machine struct {
	*local.Client
	t    testing.TB
	name string
	cfg  Config
	log  *slog.Logger
	logs *logBuffer
	plat Platform // nil: a member only

	agent  *Agent
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // of Run, valid after ended
}

// newMachine returns a machine whose agent is not started.
func newMachine(t testing.TB, name string) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.DataDir = filepath.Join(dir, "data")
	cfg.Name, cfg.Children = name, false
	cfg.Advertise = fmt.Sprintf("127.0.1.%d", lastAddress.Add(1)%250+2)
	cfg.Ports.RPC, cfg.Ports.Gossip, cfg.Ports.HTTP = freePort(t, cfg.Advertise), freePort(t, cfg.Advertise), freePort(t, "127.0.0.1")
	cfg.RoleGroups = filepath.Join(dir, "role_groups.yml")
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, name: name, cfg: cfg, logs: &logBuffer{}}
	out := &testWriter{t: t, name: name, also: m.logs}
	m.log = slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: logLevel()}))
	m.Client = local.NewClient(cfg.SocketPath()).ForCommand("test")
	t.Cleanup(func() {
		m.stop()
		out.end()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return m
}

var lastAddress atomic.Uint32

// given are the ports that machines of this process have.
var given sync.Map

// freePort returns a TCP and UDP port of addr, below those that the system
// gives to clients and Nomad to apps, so that it is still free when the agent is
// started again. No other machine gets it.
func freePort(t testing.TB, addr string) int {
	t.Helper()
	for range 100 {
		port := 10000 + rand.N(10000)
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		hp := net.JoinHostPort(addr, strconv.Itoa(port))
		l, err := net.Listen("tcp", hp)
		if err != nil {
			continue
		}
		p, err := net.ListenPacket("udp", hp)
		l.Close()
		if err == nil {
			p.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

func logLevel() slog.Level {
	if os.Getenv("AGENT_TEST_DEBUG") != "" {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// start runs the agent and returns when its local API answers.
func (m *machine) start() *machine {
	m.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan struct{})
	m.agent = New(m.cfg, m.log, sync.OnceFunc(func() { close(ready) }))
	if m.plat != nil {
		m.agent.UsePlatform(m.plat)
	}
	m.cancel, m.ended = cancel, ended
	go func() {
		defer close(ended)
		m.err = m.agent.Run(ctx)
	}()
	select {
	case <-ready:
	case <-ended:
		m.t.Fatalf("%s: the agent ended at its start: %v", m.name, m.err)
	case <-time.After(patience):
		m.t.Fatalf("%s: the agent does not start", m.name)
	}
	return m
}

// stop ends the agent without a hand-over, as a crash does: the others get no
// goodbye. It returns what Run returned.
func (m *machine) stop() error {
	m.t.Helper()
	if m.cancel == nil {
		return nil
	}
	m.cancel()
	select {
	case <-m.ended:
	case <-time.After(patience):
		panic(m.name + ": the agent does not end") // shows every goroutine
	}
	m.cancel = nil
	return m.err
}

func (m *machine) restart() *machine {
	m.t.Helper()
	m.stop()
	return m.start()
}

// ctx is for one call to the machine.
func (m *machine) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	m.t.Cleanup(cancel)
	return ctx
}

// rpc is the machine's address for join.
func (m *machine) rpc() string {
	return net.JoinHostPort(m.cfg.Advertise, strconv.Itoa(m.cfg.Ports.RPC))
}

// node returns the runtime, nil while the machine is unconfigured.
func (m *machine) node() *runtime { return m.agent.current() }

// absence says why the machine has no runtime now.
func (m *machine) absence() string {
	select {
	case <-m.ended:
		return fmt.Sprintf("is not up: its agent ended: %v", m.err)
	default:
		return "is not up: it restarts, or is in no cluster"
	}
}

// id returns the node's identity.
func (m *machine) id() node.ID {
	m.t.Helper()
	id, ok, err := store{m.cfg}.identity()
	if err != nil || !ok {
		m.t.Fatalf("%s: no identity: %v", m.name, err)
	}
	return id.ID
}

// initialise makes the machine the first node of a cluster.
func (m *machine) initialise(roles ...string) local.InitResult {
	m.t.Helper()
	out, err := m.Init(m.ctx(), local.InitRequest{Roles: roles}, nil)
	if err != nil {
		m.t.Fatalf("init %s: %v (it %s)", m.name, err, m.absence())
	}
	return out
}

// token makes a join token and returns its text, as soon as there is a Primary.
func (m *machine) token(r local.TokenCreateRequest) string {
	m.t.Helper()
	var out local.NewToken
	eventually(m.t, "token create on "+m.name, func() (err error) {
		out, err = m.TokenCreate(m.ctx(), r)
		if e := (&local.Error{}); err != nil && (!errors.As(err, &e) || e.ErrCode != local.CodeUnavailable) {
			m.t.Fatalf("token create on %s: %v", m.name, err)
		}
		return err
	})
	return out.Secret
}

// join makes the machine a member by a token that allows its roles.
func (m *machine) join(of *machine, roles ...string) local.JoinResult {
	m.t.Helper()
	out, err := m.Join(m.ctx(), local.JoinRequest{
		Primaries: []string{of.rpc()}, Token: of.token(local.TokenCreateRequest{Roles: roles}), Roles: roles,
	}, nil)
	if err != nil {
		m.t.Fatalf("join %s: %v (it %s)", m.name, err, m.absence())
	}
	return out
}

// files returns a digest of everything that makes the machine a member.
func (m *machine) files() map[string]string {
	m.t.Helper()
	out := map[string]string{}
	root := os.DirFS(m.cfg.DataDir)
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if d.IsDir() && (path == "run" || path == "logs" || path == "raft") {
			return fs.SkipDir
		}
		if d.IsDir() {
			return nil
		}
		data, err := fs.ReadFile(root, path)
		out[path] = string(data)
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return out
}

// eventually waits until ok returns nil.
func eventually(t testing.TB, what string, ok func() error) {
	t.Helper()
	within(t, patience, what, ok)
}

func within(t testing.TB, limit time.Duration, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond) // between two looks
	}
}

// wantError checks an error of the local API: its code and parts of its text
// and hint.
func wantError(t testing.TB, err error, code string, parts ...string) {
	t.Helper()
	var e *local.Error
	if !errors.As(err, &e) {
		t.Errorf("got %v, want a refusal that says %q", err, parts)
		return
	}
	text := e.Message + "\n→ " + e.ErrHint
	if e.ErrCode != code {
		t.Errorf("code %s, want %s: %s", e.ErrCode, code, text)
	}
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("the refusal\n%s\ndoes not say %q", text, p)
		}
	}
}

// logBuffer keeps what an agent logged.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// testWriter passes log lines to the test until that ends: a timer of
// memberlist can still fire and log then.
type testWriter struct {
	name string
	also *logBuffer

	mu sync.Mutex
	t  testing.TB // nil when it is over
}

func (w *testWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Logf("%s %s", w.name, strings.TrimSuffix(string(p), "\n"))
	}
	return w.also.Write(p)
}

func (w *testWriter) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t = nil
}
