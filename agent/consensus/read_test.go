package consensus

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

func TestReadIndexWaitsUntilApplied(t *testing.T) {
	c := startCluster(t, 3)
	l := c.leader()
	follower := c.others(l)[0]
	// The follower hears of nothing new, but can ask for the read index.
	c.net.cutLink(l.id, follower.id)
	set(t, l, "a", 1)
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	index, err := l.ReadIndexLocal(ctx)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- follower.State().WaitApplied(ctx, index) }()
	select {
	case err := <-done:
		t.Fatalf("the follower did not wait: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	c.net.heal()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if v, _ := value(follower, "a"); v != 1 {
		t.Fatalf("a is %d", v)
	}
}

func TestCutOffLeaderAnswersNoReads(t *testing.T) {
	c := startCluster(t, 3)
	old := c.leader()
	set(t, old, "a", 1)
	c.net.isolate(old.id)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Millisecond)
	defer cancel()
	if index, err := old.ReadIndexLocal(ctx); err == nil {
		t.Fatalf("a cut-off leader gave read index %d", index)
	}
	eventually(t, "another leads", func() bool { return c.others(old)[0].LeadTerm()+c.others(old)[1].LeadTerm() > 0 })
	set(t, c.others(old)[0], "a", 2)
	if _, err := old.ReadIndexLocal(testContext(t)); !errors.Is(err, rpcerr.Unavailable) {
		t.Fatalf("old leader: %v", err)
	}
	c.net.heal()
	if v := fresh(t, old, "a"); v != 2 {
		t.Fatalf("a is %d", v)
	}
}

// clusterWithLongLease returns a group whose leader believes in itself for
// ten seconds without hearing from anybody, and the two other voters.
func clusterWithLongLease(t *testing.T) (c *testCluster, leader *testNode, others []*testNode) {
	t.Helper()
	c = newTestCluster(t)
	c.change = func(cfg *Config) {
		if cfg.ID == "long" {
			cfg.Timing.Heartbeat, cfg.Timing.Election, cfg.Timing.LeaderLease = 10*time.Second, 10*time.Second, 10*time.Second
		}
	}
	c.form(1)
	leader = c.join("long", true)
	eventually(t, "the node with the long lease leads", func() bool {
		_ = c.nodes[0].HandOver(testContext(t)) // it is the only one that can take over
		return leader.LeadTerm() > 0
	})
	c.join("n2", true)
	return c, leader, c.others(leader)
}

// A leader with a long lease that still reaches a member without a vote must
// not take that one's answer for a voter's (raft.VerifyLeader does).
func TestNonvotersDoNotConfirmLeadership(t *testing.T) {
	c, old, others := clusterWithLongLease(t)
	idle := c.join("x", false)
	set(t, old, "a", 1)
	c.net.isolate(old.id, idle.id)
	eventually(t, "another leads", func() bool { return others[0].LeadTerm()+others[1].LeadTerm() > 0 })
	set(t, others[0], "a", 2)
	if old.raft.State() != raft.Leader {
		t.Fatal("the old leader has stepped down: the test does not test it")
	}
	if err := old.raft.VerifyLeader().Error(); err != nil {
		t.Logf("raft's own check says: %v", err)
	}
	for _, n := range []*testNode{old, idle} {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		if err := n.ReadIndex(ctx); err == nil {
			v, _ := value(n, "a")
			t.Errorf("%s answered a read with %d", n.id, v)
		}
		cancel()
	}
}

// A process that was paused finds answers to heartbeats sent before the
// pause; they say nothing about who leads now.
func TestOldHeartbeatsDoNotConfirmLeadership(t *testing.T) {
	c, old, others := clusterWithLongLease(t)
	set(t, old, "a", 1)
	// Hold back the answers of heartbeats that the followers have given.
	release := make(chan struct{})
	var held sync.Map
	gate := func(to raft.ServerID) {
		held.Store(to, true)
		<-release
	}
	old.link.heartbeatGate.Store(&gate)
	eventually(t, "answers are held back", func() bool {
		_, a := held.Load(raft.ServerID("n0"))
		_, b := held.Load(raft.ServerID("n2"))
		old.raft.VerifyLeader() // sends heartbeats
		return a && b
	})
	c.net.isolate(old.id)
	eventually(t, "another leads", func() bool { return others[0].LeadTerm()+others[1].LeadTerm() > 0 })
	set(t, others[0], "a", 2)
	if old.raft.State() != raft.Leader {
		t.Fatal("the old leader has stepped down: the test does not test it")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	got := make(chan error, 1)
	asked := old.contacts.now()
	go func() { _, err := old.ReadIndexLocal(ctx); got <- err }()
	eventually(t, "the read has begun", func() bool { return old.contacts.now() > asked })
	old.link.heartbeatGate.Store(nil)
	close(release)
	if err := <-got; err == nil {
		t.Error("a read was confirmed by heartbeats from before it")
	}
}

func TestReadsFollowTheLeader(t *testing.T) {
	c := startCluster(t, 3)
	follower := c.others(c.leader())[0]
	// Reads all the time while leadership moves: the batcher must ask the
	// leader of the moment, not that of the first reader.
	ctx := testContext(t)
	var stop atomic.Bool
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() {
			for !stop.Load() && errs[i] == nil {
				errs[i] = follower.ReadIndex(ctx)
			}
		})
	}
	for range 3 {
		old := c.leader()
		if err := old.HandOver(ctx); err != nil && !errors.Is(err, rpcerr.Deadline) {
			t.Fatal(err)
		}
		set(t, follower, "a", 1)
	}
	stop.Store(true)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// silentPeers never answer a question for the read index while they are silent.
type silentPeers struct {
	Peers
	silent *atomic.Bool
	asked  chan struct{}
}

func (p silentPeers) ReadIndex(ctx context.Context, id node.ID, addr string) (uint64, error) {
	if !p.silent.Load() {
		return p.Peers.ReadIndex(ctx, id, addr)
	}
	select {
	case p.asked <- struct{}{}:
	case <-ctx.Done():
	}
	<-ctx.Done()
	return 0, ctx.Err()
}

// TestMovedLeadershipIsNoEndOfReads: a shared call that ends because leadership
// moves is made again, although those who wait for it may hear of that later.
func TestMovedLeadershipIsNoEndOfReads(t *testing.T) {
	c := newTestCluster(t)
	peers := silentPeers{silent: new(atomic.Bool), asked: make(chan struct{}, 1)}
	c.change = func(cfg *Config) {
		own := peers
		own.Peers = cfg.Peers
		cfg.Peers = own
	}
	c.form(3)
	follower := c.others(c.leader())[0]
	peers.silent.Store(true)
	got := make(chan error, 1)
	go func() { _, err := follower.askReadIndex(testContext(t)); got <- err }()
	<-peers.asked
	follower.leaders.wake()
	if err := <-got; !retryable(err) {
		t.Errorf("%v: whoever reads would give up", err)
	}
	peers.silent.Store(false)
}

func newTestBatcher(t *testing.T, call func(context.Context) (uint64, error)) *batcher {
	ctx, cancel := context.WithCancel(context.Background())
	b := &batcher{life: ctx, call: call}
	t.Cleanup(func() { cancel(); b.wait() })
	return b
}

func TestBatcherNeverGivesAnOlderAnswer(t *testing.T) {
	var clock, calls atomic.Uint64
	b := newTestBatcher(t, func(context.Context) (uint64, error) {
		calls.Add(1)
		began := clock.Load()
		time.Sleep(50 * time.Microsecond) // the work itself: callers come in meanwhile
		return began, nil
	})
	var wg sync.WaitGroup
	var asked atomic.Uint64
	for range 8 {
		wg.Go(func() {
			for range 200 {
				asked.Add(1)
				mine := clock.Add(1)
				got, err := b.do(t.Context())
				if err != nil || got < mine {
					t.Errorf("asked at %d, got the answer of a call begun at %d (%v)", mine, got, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if calls.Load() >= asked.Load() {
		t.Errorf("%d calls for %d callers: nothing was shared", calls.Load(), asked.Load())
	}
}

func TestBatcherErrorsAndCancelling(t *testing.T) {
	fail := errors.New("no")
	enter, leave := make(chan struct{}), make(chan error)
	b := newTestBatcher(t, func(ctx context.Context) (uint64, error) {
		select {
		case enter <- struct{}{}:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		if err := ctx.Err(); err != nil {
			t.Error("a call began with an ended context")
		}
		return 7, <-leave
	})
	type result struct {
		index uint64
		err   error
	}
	ask := func(ctx context.Context) chan result {
		ch := make(chan result, 1)
		go func() { i, err := b.do(ctx); ch <- result{i, err} }()
		return ch
	}
	waiting := func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.next != nil }

	// The first caller goes away: its call goes on, those who share the next
	// one are not touched.
	ctx, cancel := context.WithCancel(context.Background())
	first := ask(ctx)
	<-enter
	second := ask(t.Context())
	eventually(t, "the second caller waits", waiting)
	cancel()
	if r := <-first; !errors.Is(r.err, context.Canceled) {
		t.Fatalf("%+v", r)
	}
	leave <- nil
	<-enter // the second caller's own call
	// An error goes to those of its batch only.
	third := ask(t.Context())
	eventually(t, "the third caller waits", waiting)
	leave <- fail
	if r := <-second; !errors.Is(r.err, fail) {
		t.Fatalf("%+v", r)
	}
	<-enter
	leave <- nil
	if r := <-third; r.err != nil || r.index != 7 {
		t.Fatalf("%+v", r)
	}
	if _, err := b.do(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("a cancelled caller: %v", err)
	}
	eventually(t, "the worker ends", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return !b.running })
}

func TestBatcherEndsWithItsLife(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	b := &batcher{life: ctx, call: func(ctx context.Context) (uint64, error) { <-ctx.Done(); return 0, ctx.Err() }}
	got := make(chan error, 1)
	go func() { _, err := b.do(context.Background()); got <- err }()
	eventually(t, "the call runs", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.running })
	cancel()
	b.wait()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := b.do(context.Background()); !errors.Is(err, errStopping) {
		t.Fatal(err)
	}
}

func TestReadsOfAStoppedNode(t *testing.T) {
	c := startCluster(t, 1)
	n := c.nodes[0]
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	if err := n.ReadIndex(ctx); !errors.Is(err, rpcerr.Unavailable) || rpcerr.Retryable(err) {
		t.Errorf("read: %v", err)
	}
	if _, err := cmdSet.Propose(ctx, n, kvSet{"a", 1}); !errors.Is(err, rpcerr.Unavailable) || rpcerr.Retryable(err) {
		t.Errorf("write: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Errorf("Close after Run: %v", err)
	}
}
