package consensus

import (
	"context"
	"sync"

	"github.com/stackato/stackato/agent/node"
)

// ReadIndex makes the following reads of this node's tables linearizable: it
// returns when they show everything that was acknowledged, anywhere, before
// the call (Raft dissertation, §6.4). Calls at the same time share one round
// trip. Without a leader it fails after Config.LeaderWait.
func (n *Node) ReadIndex(ctx context.Context) error {
	return n.withLeader(ctx, func(ctx context.Context, id node.ID, addr string) error {
		index, err := n.reads.do(ctx, func(ctx context.Context) (uint64, error) {
			if id == n.cfg.ID {
				return n.ReadIndexLocal(ctx)
			}
			return n.cfg.Peers.ReadIndex(ctx, id, addr)
		})
		if err != nil {
			return err
		}
		return n.fsm.state.WaitApplied(ctx, index)
	})
}

// ReadIndexLocal returns the read index if this node leads: the commit index,
// after a majority has confirmed the leadership. Since the leader has applied
// its own term_started command, every entry of its term up to the commit
// index is one that the tables count (never a no-op).
func (n *Node) ReadIndexLocal(ctx context.Context) (uint64, error) {
	return n.verifies.do(ctx, func(ctx context.Context) (uint64, error) {
		if n.leadTerm.Load() == 0 {
			return 0, errNotLeader
		}
		index := n.raft.CommitIndex()
		future := n.raft.VerifyLeader()
		done := make(chan error, 1)
		go func() { done <- future.Error() }() // ends with the future
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case err := <-done:
			if err != nil {
				return 0, raftError(err)
			}
		}
		return index, nil
	})
}

// batcher lets concurrent callers share one call. A caller never gets the
// answer of a call that had begun before it came: that one may be too old.
// The zero value is ready.
type batcher struct {
	mu      sync.Mutex
	running bool
	next    *batch
}

type batch struct {
	done  chan struct{}
	index uint64
	err   error
}

// do returns the result of a call of f that began after do was called.
func (b *batcher) do(ctx context.Context, f func(context.Context) (uint64, error)) (uint64, error) {
	b.mu.Lock()
	if b.next == nil {
		b.next = &batch{done: make(chan struct{})}
	}
	mine := b.next
	if !b.running {
		b.running = true
		go b.work(context.WithoutCancel(ctx), f)
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
func (b *batcher) work(ctx context.Context, f func(context.Context) (uint64, error)) {
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
		call, cancel := context.WithTimeout(ctx, attemptTimeout)
		cur.index, cur.err = f(call)
		cancel()
		close(cur.done)
	}
}
