package member

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stackato/stackato/agent/node"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testCluster = "5a7a8e52-6f0c-4b53-9d39-7a5b6e1b0c11"

// testLog writes to t until the test ends: memberlist's last goroutines end
// shortly after Run.
type testLog struct {
	mu   sync.Mutex
	t    testing.TB
	more io.Writer
}

func (w *testLog) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Logf("%s", p)
		if w.more != nil {
			return w.more.Write(p)
		}
	}
	return len(p), nil
}

func testLogger(t testing.TB, more io.Writer) *slog.Logger {
	w := &testLog{t: t, more: more}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.t = nil
	})
	return slog.New(slog.NewTextHandler(w, nil))
}

// testMember is a running member.
type testMember struct {
	*Gossip
	cfg    Config
	crash  context.CancelFunc
	result chan error // of Run
}

var (
	testKey  = []byte("0123456789abcdef0123456789abcdef")
	otherKey = []byte("fedcba9876543210fedcba9876543210")
)

func testConfig(t testing.TB, n *Network, name string) Config {
	t.Helper()
	return Config{
		ID: node.NewID(), Name: name, ClusterID: testCluster,
		Keys: [][]byte{testKey}, Profile: Test, Endpoint: n.NewEndpoint(),
		Meta:   func() Meta { return Meta{Roles: node.NewRoleSet(node.Base), Version: "1.0.0", Zone: "z1"} },
		Logger: testLogger(t, nil).With("on", name),
	}
}

// run starts a member and stops it at the end of the test.
func run(t testing.TB, cfg Config) *testMember {
	t.Helper()
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	m := &testMember{Gossip: g, cfg: cfg, crash: cancel, result: make(chan error, 1)}
	go func() { m.result <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-g.done
	})
	select {
	case <-g.Ready():
	case err := <-m.result:
		t.Fatalf("Run ended at once: %v", err)
	}
	return m
}

// cluster starts count members that know each other.
func cluster(t testing.TB, n *Network, count int) []*testMember {
	t.Helper()
	var ms []*testMember
	for i := range count {
		ms = append(ms, run(t, testConfig(t, n, fmt.Sprintf("n%d", i))))
		if i > 0 {
			mustJoin(t, ms[i], ms[0])
		}
	}
	waitConverged(t, ms...)
	return ms
}

func mustJoin(t testing.TB, m, to *testMember) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if n, err := m.Join(ctx, []string{to.Addr().String()}); n != 1 || err != nil {
		t.Fatalf("Join: %d answered, %v", n, err)
	}
}

// eventually waits until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(2 * time.Millisecond) // between looks
	}
}

// waitConverged waits until each member sees exactly these alive.
func waitConverged(t testing.TB, ms ...*testMember) {
	t.Helper()
	for _, m := range ms {
		for _, other := range ms {
			eventually(t, fmt.Sprintf("%s sees %s alive", m.cfg.Name, other.cfg.Name), func() bool {
				return m.sees(other) == Alive
			})
		}
		eventually(t, m.cfg.Name+" sees nobody else", func() bool { return m.NumAlive() == len(ms) })
	}
}

// sees is the state of other in m's view, "" when unknown.
func (m *testMember) sees(other *testMember) State {
	o, _ := m.Member(other.cfg.ID)
	return o.State
}

func isolate(addrs ...netip.AddrPort) func(from, to netip.AddrPort) bool {
	in := map[netip.AddrPort]bool{}
	for _, a := range addrs {
		in[a] = true
	}
	return func(from, to netip.AddrPort) bool { return in[from] == in[to] }
}
