package consensus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-memdb"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Raft never answers a future whose entry lies in the state machine's
		// queue when it shuts down; the waiting goroutine stays.
		goleak.IgnoreAnyFunction("github.com/hashicorp/raft.(*deferError).Error"))
}

// testTiming is short, but long enough for two busy cores under -race.
var testTiming = Timing{100 * time.Millisecond, 100 * time.Millisecond, 80 * time.Millisecond, 5 * time.Millisecond}

// kv is a row of the test's table.
type kv struct {
	ID    string
	Value int64
	Rev   uint64
}

type kvSet struct {
	Key   string `json:"key"`
	Value int64  `json:"value"`
}

type kvCAS struct {
	Key string `json:"key"`
	Old int64  `json:"old"`
	New int64  `json:"new"`
}

const kvTable = "kv"

var (
	cmdSet    = &Command[kvSet, uint64]{"kv.set", 1}
	cmdCreate = &Command[kvSet, struct{}]{"kv.create", 1}
	cmdAdd    = &Command[kvSet, int64]{"kv.add", 1}
	cmdCAS    = &Command[kvCAS, bool]{"kv.cas", 1}
	cmdDelete = &Command[string, int]{"kv.delete", 1}
	cmdHalf   = &Command[kvSet, struct{}]{"kv.half", 1}
	cmdPanic  = &Command[kvSet, struct{}]{"kv.panic", 1}
	cmdBusy   = &Command[kvSet, struct{}]{"kv.busy", 1}
	cmdNew    = &Command[kvSet, struct{}]{"kv.new", 2} // only in registries made with newer
)

// testRegistry returns a registry with the test's table and commands.
func testRegistry() *Registry {
	r := NewRegistry()
	AddTable[kv](r, &memdb.TableSchema{Name: kvTable, Indexes: map[string]*memdb.IndexSchema{
		"id":    {Name: "id", Unique: true, Indexer: &memdb.StringFieldIndex{Field: "ID"}},
		"value": {Name: "value", Indexer: &memdb.IntFieldIndex{Field: "Value"}},
	}})
	put := func(tx *Tx, key string, v int64) error { return Put(tx, kvTable, kv{key, v, tx.Index}) }
	Register(r, cmdSet.Type, 1, func(tx *Tx, in kvSet) (uint64, error) { return tx.Index, put(tx, in.Key, in.Value) })
	Register(r, cmdCreate.Type, 1, func(tx *Tx, in kvSet) (struct{}, error) {
		if _, dup := Get[kv](tx, kvTable, "id", in.Key); dup {
			return struct{}{}, rpcerr.New(rpcerr.Conflict, "%s exists", in.Key).WithHint("take another")
		}
		return struct{}{}, put(tx, in.Key, in.Value)
	})
	Register(r, cmdAdd.Type, 1, func(tx *Tx, in kvSet) (int64, error) {
		old, _ := Get[kv](tx, kvTable, "id", in.Key)
		return old.Value + in.Value, put(tx, in.Key, old.Value+in.Value)
	})
	Register(r, cmdCAS.Type, 1, func(tx *Tx, in kvCAS) (bool, error) {
		old, _ := Get[kv](tx, kvTable, "id", in.Key)
		if old.Value != in.Old {
			return false, nil
		}
		return true, put(tx, in.Key, in.New)
	})
	Register(r, cmdDelete.Type, 1, func(tx *Tx, key string) (int, error) { return Delete(tx, kvTable, "id", key) })
	Register(r, cmdHalf.Type, 1, func(tx *Tx, in kvSet) (struct{}, error) {
		if err := put(tx, in.Key, in.Value); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, rpcerr.New(rpcerr.Precondition, "no, after all")
	})
	Register(r, cmdPanic.Type, 1, func(tx *Tx, in kvSet) (struct{}, error) {
		if err := put(tx, in.Key, in.Value); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, put(tx, []string{}[in.Value:][0], 0) // no such element
	})
	Register(r, cmdBusy.Type, 1, func(*Tx, kvSet) (struct{}, error) {
		return struct{}{}, rpcerr.New(rpcerr.Exhausted, "too many")
	})
	return r
}

// newer adds a command that other builds do not have.
func newer(r *Registry) *Registry {
	Register(r, cmdNew.Type, cmdNew.Version, func(tx *Tx, in kvSet) (struct{}, error) {
		return struct{}{}, Put(tx, kvTable, kv{in.Key, in.Value, tx.Index})
	})
	return r
}

// testNet is the network between the nodes of a test.
type testNet struct {
	mu    sync.Mutex
	nodes map[node.ID]*testNode
	cut   map[[2]node.ID]bool // from, to
	// loseAnswers makes that many forwarded writes lose their answers.
	loseAnswers atomic.Int64
	// denyAfterLoss makes others refuse who lost an answer.
	denyAfterLoss atomic.Bool
}

func (n *testNet) open(from, to node.ID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.cut[[2]node.ID{from, to}]
}

// isolate cuts a node off from all others, in both directions.
func (n *testNet) isolate(ids ...node.ID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for other := range n.nodes {
		for _, id := range ids {
			if !slices.Contains(ids, other) {
				n.cut[[2]node.ID{id, other}] = true
				n.cut[[2]node.ID{other, id}] = true
			}
		}
	}
}

func (n *testNet) cutLink(from, to node.ID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]node.ID{from, to}] = true
}

func (n *testNet) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
}

func (n *testNet) node(id node.ID) *testNode {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.nodes[id]
}

var errCut = errors.New("the link is cut")

// linkTransport is Raft's transport over a testNet.
type linkTransport struct {
	*raft.InmemTransport
	net  *testNet
	from node.ID
	// heartbeatGate, if set, is called before each heartbeat's answer is given.
	heartbeatGate atomic.Pointer[func(to raft.ServerID)]
}

func (l *linkTransport) link(to raft.ServerID, f func() error) error {
	if !l.net.open(l.from, node.ID(to)) {
		return errCut
	}
	err := f()
	if !l.net.open(node.ID(to), l.from) {
		return errCut
	}
	return err
}

func (l *linkTransport) AppendEntries(id raft.ServerID, to raft.ServerAddress, a *raft.AppendEntriesRequest, r *raft.AppendEntriesResponse) error {
	err := l.link(id, func() error { return l.InmemTransport.AppendEntries(id, to, a, r) })
	if gate := l.heartbeatGate.Load(); gate != nil && err == nil && len(a.Entries) == 0 {
		(*gate)(id)
	}
	return err
}

func (l *linkTransport) AppendEntriesPipeline(id raft.ServerID, to raft.ServerAddress) (raft.AppendPipeline, error) {
	p, err := l.InmemTransport.AppendEntriesPipeline(id, to)
	if err != nil {
		return nil, err
	}
	return &linkPipeline{p, l, id}, nil
}

func (l *linkTransport) RequestVote(id raft.ServerID, to raft.ServerAddress, a *raft.RequestVoteRequest, r *raft.RequestVoteResponse) error {
	return l.link(id, func() error { return l.InmemTransport.RequestVote(id, to, a, r) })
}

func (l *linkTransport) RequestPreVote(id raft.ServerID, to raft.ServerAddress, a *raft.RequestPreVoteRequest, r *raft.RequestPreVoteResponse) error {
	return l.link(id, func() error { return l.InmemTransport.RequestPreVote(id, to, a, r) })
}

func (l *linkTransport) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, a *raft.InstallSnapshotRequest, r *raft.InstallSnapshotResponse, data io.Reader) error {
	return l.link(id, func() error { return l.InmemTransport.InstallSnapshot(id, to, a, r, data) })
}

func (l *linkTransport) TimeoutNow(id raft.ServerID, to raft.ServerAddress, a *raft.TimeoutNowRequest, r *raft.TimeoutNowResponse) error {
	return l.link(id, func() error { return l.InmemTransport.TimeoutNow(id, to, a, r) })
}

type linkPipeline struct {
	raft.AppendPipeline
	l  *linkTransport
	to raft.ServerID
}

func (p *linkPipeline) AppendEntries(a *raft.AppendEntriesRequest, r *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	if !p.l.net.open(p.l.from, node.ID(p.to)) || !p.l.net.open(node.ID(p.to), p.l.from) {
		return nil, errCut
	}
	return p.AppendPipeline.AppendEntries(a, r)
}

// testPeers carries forwarded writes and read indexes over a testNet.
type testPeers struct {
	net  *testNet
	from node.ID
}

func (p *testPeers) to(id node.ID) (*Node, error) {
	if !p.net.open(p.from, id) {
		return nil, rpcerr.New(rpcerr.Unavailable, "%w", errCut)
	}
	tn := p.net.node(id)
	if tn == nil {
		return nil, rpcerr.New(rpcerr.Unavailable, "node %s is away", id)
	}
	return tn.Node, nil
}

func (p *testPeers) Apply(ctx context.Context, id node.ID, _ string, prop Proposal) (uint64, []byte, error) {
	n, err := p.to(id)
	if err != nil {
		return 0, nil, err
	}
	index, result, err := n.ApplyLocal(ctx, prop)
	if !p.net.open(id, p.from) || err == nil && p.net.loseAnswers.Add(-1) >= 0 {
		return 0, nil, rpcerr.New(rpcerr.Deadline, "the answer is lost").WithRetryable(true)
	}
	if p.net.denyAfterLoss.Load() && p.net.loseAnswers.Load() < 0 {
		return 0, nil, rpcerr.New(rpcerr.Denied, "node %s is not a controller", p.from)
	}
	if err != nil { // as over the wire: the cause does not travel
		e := *rpcerr.From(err)
		return 0, nil, rpcerr.New(e.ErrCode, "%s", e.Message).WithHint("%s", e.ErrHint).WithRetryable(e.Retryable)
	}
	return index, result, nil
}

func (p *testPeers) ReadIndex(ctx context.Context, id node.ID, _ string) (uint64, error) {
	n, err := p.to(id)
	if err != nil {
		return 0, err
	}
	index, err := n.ReadIndexLocal(ctx)
	if !p.net.open(id, p.from) {
		return 0, rpcerr.New(rpcerr.Unavailable, "%w", errCut)
	}
	return index, err
}

// testNode is a running Node.
type testNode struct {
	*Node
	id     node.ID
	dir    string
	link   *linkTransport
	cancel context.CancelFunc
	done   chan error

	mu    sync.Mutex
	terms []uint64 // that Lead was called with
	leads int      // Lead calls that run
}

// lead is the node's Config.Lead.
func (n *testNode) lead(ctx context.Context, term uint64) {
	n.mu.Lock()
	n.terms = append(n.terms, term)
	n.leads++
	n.mu.Unlock()
	<-ctx.Done()
	n.mu.Lock()
	n.leads--
	n.mu.Unlock()
}

func (n *testNode) leading() (terms []uint64, running int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.terms), n.leads
}

// stop ends the node and returns what Run gave.
func (n *testNode) stop() error {
	n.cancel()
	return <-n.done
}

// testCluster is a group of nodes in this process.
type testCluster struct {
	t     testing.TB
	net   *testNet
	nodes []*testNode
	// change, if set, adapts the Config of each node that is started.
	change func(*Config)
	reg    func() *Registry
	disk   bool
}

func newTestCluster(t testing.TB) *testCluster {
	t.Helper()
	return &testCluster{
		t: t, reg: testRegistry,
		net: &testNet{nodes: map[node.ID]*testNode{}, cut: map[[2]node.ID]bool{}},
	}
}

// startCluster makes a group of voters in memory.
func startCluster(t testing.TB, voters int) *testCluster {
	t.Helper()
	c := newTestCluster(t)
	c.form(voters)
	return c
}

// form makes a group of new voters. It returns when each knows all of them:
// hashicorp/raft grants no vote to a candidate that is not in the voter's own
// configuration, so a leader lost before that moment leaves a group that
// cannot elect another until it is back.
func (c *testCluster) form(voters int) {
	c.t.Helper()
	for i := range voters {
		c.join(fmt.Sprintf("n%d", i), true)
	}
	for _, n := range c.nodes {
		eventually(c.t, "every voter knows the others", func() bool {
			servers, _ := n.Servers()
			return len(servers) == voters
		})
	}
}

// join starts a new node and adds it to the group; the first one makes it.
func (c *testCluster) join(id string, voter bool) *testNode {
	c.t.Helper()
	dir := ""
	if c.disk {
		dir = c.t.TempDir()
	}
	n := c.start(node.ID(id), dir)
	ctx := testContext(c.t)
	if len(c.nodes) == 1 {
		if err := n.Bootstrap(); err != nil {
			c.t.Fatal(err)
		}
		eventually(c.t, "the first node leads", func() bool { return n.LeadTerm() > 0 })
		if err := n.ReportSelf(ctx); err != nil {
			c.t.Fatal(err)
		}
		return n
	}
	c.member(n, voter)
	eventually(c.t, "the new member follows", func() bool {
		_, _, ok := n.Leader()
		return ok && n.State().Applied() > 0
	})
	return n
}

// member reports and adds a started node.
func (c *testCluster) member(n *testNode, voter bool) {
	c.t.Helper()
	ctx := testContext(c.t)
	if err := c.leader().Report(ctx, n.id, n.reg.Capabilities()); err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, "member is added", func() bool {
		l := c.leader()
		_, prev := l.Servers()
		add := l.AddNonvoter
		if voter {
			add = l.AddVoter
		}
		return add(n.id, string(n.id), prev) == nil
	})
}

// start opens and runs a node.
func (c *testCluster) start(id node.ID, dir string) *testNode {
	c.t.Helper()
	n, err := c.open(id, dir)
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

func (c *testCluster) open(id node.ID, dir string) (*testNode, error) {
	_, mem := raft.NewInmemTransportWithTimeout(raft.ServerAddress(id), 200*time.Millisecond)
	n := &testNode{id: id, dir: dir, done: make(chan error, 1)}
	n.link = &linkTransport{InmemTransport: mem, net: c.net, from: id}
	cfg := Config{
		ID: id, Address: string(id), Dir: dir, Timing: testTiming,
		Peers: &testPeers{c.net, id}, Logger: testLogger(c.t), Lead: n.lead,
		LeaderWait: 5 * time.Second, transport: n.link,
	}
	if c.change != nil {
		c.change(&cfg)
	}
	var err error
	if n.Node, err = Open(cfg, c.reg()); err != nil {
		return nil, err
	}
	c.net.mu.Lock()
	for _, o := range c.net.nodes {
		mem.Connect(raft.ServerAddress(o.id), o.link.InmemTransport)
		o.link.Connect(raft.ServerAddress(id), mem)
	}
	c.net.nodes[id] = n
	c.net.mu.Unlock()
	c.nodes = append(slices.DeleteFunc(c.nodes, func(o *testNode) bool { return o.id == id }), n)
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	go func() { n.done <- n.Run(ctx) }()
	c.t.Cleanup(func() {
		cancel()
		select { // a test may have taken the result
		case <-n.done:
		case <-n.ctx.Done():
			_ = n.Close() // waits for the end of the other one
		}
	})
	return n, nil
}

// leader waits for a leader that is ready and that a majority follows.
func (c *testCluster) leader() *testNode {
	c.t.Helper()
	var found *testNode
	eventually(c.t, "a leader", func() bool {
		for _, n := range c.nodes {
			if n.LeadTerm() == 0 {
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_, err := n.ReadIndexLocal(ctx)
			cancel()
			if err == nil {
				found = n
				return true
			}
		}
		return false
	})
	return found
}

// others returns the nodes but n.
func (c *testCluster) others(n *testNode) []*testNode {
	return slices.DeleteFunc(slices.Clone(c.nodes), func(o *testNode) bool { return o == n })
}

// value reads a key on this node as it is now.
func value(n *testNode, key string) (int64, bool) {
	row, ok := Get[kv](n.State().Read(), kvTable, "id", key)
	return row.Value, ok
}

// fresh reads a key after a ReadIndex.
func fresh(t testing.TB, n *testNode, key string) int64 {
	t.Helper()
	if err := n.ReadIndex(testContext(t)); err != nil {
		t.Fatalf("%s: read index: %v", n.id, err)
	}
	v, _ := value(n, key)
	return v
}

func set(t testing.TB, p Proposer, key string, v int64, opts ...Option) {
	t.Helper()
	if _, err := cmdSet.Propose(testContext(t), p, kvSet{key, v}, opts...); err != nil {
		t.Fatalf("set %s: %v", key, err)
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
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
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// testLogger writes to the test's log when STACKATO_TEST_LOG is set: Raft
// says a lot.
func testLogger(t testing.TB) *slog.Logger {
	if os.Getenv("STACKATO_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// dump returns a node's snapshot as text.
func dump(t testing.TB, n *testNode) string {
	t.Helper()
	if err := n.ReadIndex(testContext(t)); err != nil {
		t.Fatal(err)
	}
	return dumpFSM(t, n.fsm)
}

func dumpFSM(t testing.TB, f *fsm) string {
	t.Helper()
	var buf bytes.Buffer
	s := &snapshot{reg: f.reg, head: snapshotHeader{Format: snapshotFormat}, txn: f.state.db.Txn(false), requests: f.requests.entries()}
	if err := s.write(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}
