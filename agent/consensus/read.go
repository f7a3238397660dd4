package consensus

import (
	"context"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/stackato/stackato/agent/node"
)

// ReadIndex makes the following reads of this node's tables linearizable: it
// returns when they show everything that was acknowledged, anywhere, before
// the call (Raft dissertation, §6.4). Calls at the same time share one round
// trip. Without a leader it fails after Config.LeaderWait.
func (n *Node) ReadIndex(ctx context.Context) error {
	return n.withLeader(ctx, func(ctx context.Context, _ node.ID, _ string) error {
		index, err := n.reads.do(ctx)
		if err != nil {
			return err
		}
		return n.fsm.state.WaitApplied(ctx, index)
	})
}

// askReadIndex asks whoever leads when the call begins; callers before it may
// have seen another leader. A call that ends because leadership moves is to be
// made again: that the callers have not ended shows in no other way.
func (n *Node) askReadIndex(ctx context.Context) (index uint64, err error) {
	asking, stop := whileLeads(ctx, n.leaders.next())
	defer stop()
	id, addr, ok := n.Leader()
	switch {
	case !ok:
		return 0, errNoLeaderNow
	case id == n.cfg.ID:
		index, err = n.ReadIndexLocal(asking)
	default:
		index, err = n.cfg.Peers.ReadIndex(asking, id, addr)
	}
	if err != nil && asking.Err() != nil && ctx.Err() == nil {
		return 0, errLeaderMoves
	}
	return index, err
}

// ReadIndexLocal returns the read index if this node leads: the commit index,
// after a majority has confirmed the leadership. Since the leader has applied
// its own term_started command, every entry of its term up to the commit
// index is one that the tables count (never a no-op).
func (n *Node) ReadIndexLocal(ctx context.Context) (uint64, error) {
	return n.verifies.do(ctx)
}

func (n *Node) verify(ctx context.Context) (uint64, error) {
	term := n.leadTerm.Load()
	if term == 0 {
		return 0, errNotLeader
	}
	index := n.raft.CommitIndex()
	stamp := n.contacts.next()
	// Raft's own verification is called because it sends heartbeats at once.
	if err := n.await(ctx, n.raft.VerifyLeader); err != nil {
		return 0, err
	}
	servers := n.raft.GetConfiguration().Configuration().Servers
	leads := func() bool { return n.leadTerm.Load() == term && n.raft.CurrentTerm() == term }
	if err := n.contacts.await(ctx, raft.ServerID(n.cfg.ID), servers, term, stamp, leads); err != nil {
		return 0, err
	}
	// Leadership lost and won again in between: the commit index of the new
	// term may not have been known yet.
	if !leads() {
		return 0, errNotLeader
	}
	return index, nil
}

// await starts something in Raft and waits for it or ctx. Starting can block
// too, while Raft's main loop is held.
func (n *Node) await(ctx context.Context, start func() raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- start().Error() }() // ends with the future, at the latest when Raft shuts down
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-n.ctx.Done():
		return errStopping
	case err := <-done:
		return raftError(err)
	}
}

// batcher lets concurrent callers share one call. A caller never gets the
// answer of a call that had begun before it came: that one may be too old.
type batcher struct {
	life context.Context // calls end with it
	call func(context.Context) (uint64, error)

	mu      sync.Mutex
	running bool
	next    *batch
	workers sync.WaitGroup
}

type batch struct {
	done  chan struct{}
	index uint64
	err   error
}

// do returns the result of a call that began after do was called. A caller
// that goes away leaves the call to the others.
func (b *batcher) do(ctx context.Context) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	b.mu.Lock()
	if b.life.Err() != nil {
		b.mu.Unlock()
		return 0, errStopping
	}
	if b.next == nil {
		b.next = &batch{done: make(chan struct{})}
	}
	mine := b.next
	if !b.running {
		b.running = true
		b.workers.Go(b.work)
	}
	b.mu.Unlock()
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-mine.done:
		return mine.index, mine.err
	}
}

// work runs batches until nobody waits.
func (b *batcher) work() {
	for {
		b.mu.Lock()
		cur := b.next
		b.next = nil
		if cur == nil {
			b.running = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		ctx, cancel := context.WithTimeout(b.life, attemptTimeout)
		cur.index, cur.err = b.call(ctx)
		cancel()
		close(cur.done)
	}
}

// wait returns when no call runs any more; end life first.
func (b *batcher) wait() {
	func() {
		b.mu.Lock()
		defer b.mu.Unlock() // do looks at life under the lock: no worker starts after this
	}()
	b.workers.Wait()
}
