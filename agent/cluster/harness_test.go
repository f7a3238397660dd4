package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Raft never answers a future whose entry lies in the state machine's
		// queue when it shuts down; the waiting goroutine stays.
		goleak.IgnoreAnyFunction("github.com/hashicorp/raft.(*deferError).Error"))
}

var testTiming = consensus.Timing{
	Heartbeat: 150 * time.Millisecond, Election: 150 * time.Millisecond, LeaderLease: 100 * time.Millisecond, Commit: 5 * time.Millisecond,
}

// testNet connects the controllers of a test inside the process, for Raft and
// for calls.
type testNet struct {
	mu        sync.Mutex
	listeners map[string]*memListener
	members   map[node.ID]*member
	down      map[node.ID]time.Time // since when
}

func newNet() *testNet {
	return &testNet{listeners: map[string]*memListener{}, members: map[node.ID]*member{}, down: map[node.ID]time.Time{}}
}

// memListener is a member's Raft listener.
type memListener struct {
	net   *testNet
	addr  string
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}

	mu       sync.Mutex
	accepted []net.Conn // Raft closes only those that it has dialed
}

type memAddr string

func (a memAddr) Network() string { return "mem" }
func (a memAddr) String() string  { return string(a) }

func (n *testNet) listen(addr string) *memListener {
	l := &memListener{net: n, addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[addr] = l
	return l
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		l.mu.Lock()
		l.accepted = append(l.accepted, c)
		l.mu.Unlock()
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error {
	l.once.Do(func() { close(l.done) })
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.accepted {
		_ = c.Close() // a pipe cannot fail to
	}
	return nil
}

func (l *memListener) Addr() net.Addr { return memAddr(l.addr) }

// DialRaft implements consensus.StreamLayer.
func (l *memListener) DialRaft(addr string, timeout time.Duration) (net.Conn, error) {
	l.net.mu.Lock()
	to := l.net.listeners[addr]
	l.net.mu.Unlock()
	if to == nil {
		return nil, errors.New("nobody listens on " + addr)
	}
	here, there := net.Pipe()
	select {
	case to.conns <- there:
		return here, nil
	case <-to.done:
	case <-time.After(timeout):
	}
	return nil, errors.New("nobody accepts on " + addr)
}

// Alive implements Hints.
func (n *testNet) Alive(id node.ID) (bool, time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	since, down := n.down[id]
	return !down, since
}

func (n *testNet) setDown(id node.ID, since time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down[id] = since
}

func (n *testNet) member(id node.ID) (*member, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if m := n.members[id]; m != nil {
		return m, nil
	}
	return nil, rpcerr.New(rpcerr.Unavailable, "%s is away", id)
}

// Apply implements consensus.Peers.
func (n *testNet) Apply(ctx context.Context, id node.ID, _ string, p consensus.Proposal) (uint64, []byte, error) {
	m, err := n.member(id)
	if err != nil {
		return 0, nil, err
	}
	return m.cons.ApplyLocal(ctx, p)
}

// ReadIndex implements consensus.Peers.
func (n *testNet) ReadIndex(ctx context.Context, id node.ID, _ string) (uint64, error) {
	m, err := n.member(id)
	if err != nil {
		return 0, err
	}
	return m.cons.ReadIndexLocal(ctx)
}

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// member is a running controller.
type member struct {
	*Controller
	t    testing.TB
	self node.Node
	net  *testNet
	time *clock
	dir  string // of Raft's data, "" in memory

	mu   sync.Mutex
	lead func(ctx context.Context, term uint64)

	stop func()
}

func testNode(name string, i int, roles ...node.Role) node.Node {
	return node.Node{
		ID: node.NewID(), Name: name, Address: fmt.Sprintf("10.0.%d.%d", i/250, i%250+1), RPCPort: 7300, GossipPort: 7301,
		Roles: node.NewRoleSet(append(roles, node.Base)...), Zone: node.DefaultZone, Version: testVersion,
	}
}

const testVersion = "1.4.2"

// first makes a cluster of one controller; with dir its Raft data are files.
func first(t testing.TB, dir string) (*member, *NewCluster) {
	t.Helper()
	start := &clock{now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	n := testNode("first", 0, node.Controller, node.Router)
	made, err := Found(n, "stackato.test", false, start.Now())
	if err != nil {
		t.Fatal(err)
	}
	m := startMember(t, newNet(), start, made.Founding.Member.Node, dir, made)
	if err := m.cons.Bootstrap(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first node leads", func() bool { return m.cons.LeadTerm() > 0 })
	if err := m.cons.ReportSelf(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := m.Found(testContext(t), made.Founding); err != nil {
		t.Fatal(err)
	}
	return m, made
}

// single is first in memory, without the founding's secrets at hand.
func single(t testing.TB) *member {
	t.Helper()
	m, _ := first(t, "")
	return m
}

// startMember opens and runs a controller; made gives it the ring.
func startMember(t testing.TB, n *testNet, c *clock, self node.Node, dir string, made *NewCluster) *member {
	t.Helper()
	m := &member{t: t, self: self, net: n, time: c, dir: dir}
	log := slog.New(slog.DiscardHandler)
	listener := n.listen(self.RPCAddr())
	cons, err := consensus.Open(consensus.Config{
		ID: self.ID, Address: self.RPCAddr(), Dir: dir, Timing: testTiming, Stream: listener, Peers: n, Logger: log,
		Lead: func(ctx context.Context, term uint64) {
			m.mu.Lock()
			lead := m.lead
			m.mu.Unlock()
			if lead != nil {
				lead(ctx, term)
			}
		},
	}, Registry())
	if err != nil {
		t.Fatal(err)
	}
	m.Controller = NewController(Config{
		Self: self.ID, Consensus: cons, Ring: made.Ring.Clone(), RingFile: filepath.Join(t.TempDir(), "ring"),
		Now: c.Now, Hints: n, Version: testVersion, Logger: log,
	})
	n.mu.Lock()
	n.members[self.ID] = m
	n.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- cons.Run(ctx) }()
	m.stop = sync.OnceFunc(func() {
		n.mu.Lock()
		delete(n.members, self.ID)
		n.mu.Unlock()
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", self.Name, err)
		}
	})
	t.Cleanup(m.stop)
	return m
}

// joiner is a node that wants to join: its key stays the same.
type joiner struct {
	node.Node
	csr []byte
}

func newJoiner(t testing.TB, n node.Node) joiner {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.CSR(key, n.ID)
	if err != nil {
		t.Fatal(err)
	}
	return joiner{n, csr}
}

func (j joiner) request(s JoinSecret, now time.Time) JoinRequest {
	return JoinRequest{TokenID: s.ID, Secret: s.Secret, Node: j.Node, CSR: j.csr, Now: now, Capabilities: Registry().Capabilities()}
}

// token makes a join token.
func (m *member) token(roles node.RoleSet, uses int) JoinSecret {
	m.t.Helper()
	_, s, err := m.CreateToken(testContext(m.t), roles, 0, uses)
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}

// admitted joins a node that must be accepted.
func (m *member) admitted(n node.Node) JoinResponse {
	m.t.Helper()
	out, err := m.Join(testContext(m.t), newJoiner(m.t, n).request(m.token(node.AllRoles(), 1), m.time.Now()))
	if err != nil {
		m.t.Fatalf("join of %s: %v", n.Name, err)
	}
	return out
}

func (m *member) view() *consensus.View {
	m.t.Helper()
	v, err := m.read(testContext(m.t))
	if err != nil {
		m.t.Fatal(err)
	}
	return v
}

// rows returns every row of this package's tables as JSON.
func (m *member) rows() string {
	m.t.Helper()
	v := m.view()
	all := map[string]any{
		nodesTable: Members(v), tokensTable: Tokens(v), settingsTable: Settings(v), certsTable: Certificates(v),
		secretsTable:     consensus.List[Secret](v, secretsTable, "id"),
		authoritiesTable: consensus.List[Authority](v, authoritiesTable, "id"),
		clusterTable:     consensus.List[Record](v, clusterTable, "id"),
		adminsTable:      consensus.List[Admin](v, adminsTable, "id"),
	}
	out, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		m.t.Fatal(err)
	}
	return string(out)
}

// unchanged runs f and fails the test if it changed a row.
func (m *member) unchanged(f func()) {
	m.t.Helper()
	before := m.rows()
	f()
	if after := m.rows(); before != after {
		m.t.Errorf("a refusal changed something:\n%s\nwas\n%s", after, before)
	}
}

// wantError checks code, message and hint.
func wantError(t testing.TB, err error, code rpcerr.Code, message, hint string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %q", message)
		return
	}
	e := rpcerr.From(err)
	if e.ErrCode != code || e.Message != message || e.ErrHint != hint {
		t.Errorf("got  %s: %q (hint %q)\nwant %s: %q (hint %q)", e.ErrCode, e.Message, e.ErrHint, code, message, hint)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		<-tick.C
	}
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func ids(nodes ...node.Node) []node.ID {
	var out []node.ID
	for _, n := range nodes {
		out = append(out, n.ID)
	}
	slices.Sort(out)
	return out
}

// inParallel calls f with 0 to n-1, many at a time: Raft puts them together.
func inParallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	for worker := range 64 {
		wg.Go(func() {
			for i := worker; i < n; i += 64 {
				f(i)
			}
		})
	}
	wg.Wait()
}
