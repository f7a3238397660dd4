package consensus

import (
	"context"
	"errors"
	"sync"

	"github.com/hashicorp/raft"
)

// contacts confirms leadership for reads. raft.VerifyLeader alone is not
// enough: it counts the answers of members without a vote, and answers to
// heartbeats that had been sent before it was asked, which a paused process
// finds waiting when it wakes.
//
// Here each heartbeat is stamped when it is sent. A read takes the next stamp
// and waits until more than half of the voters have accepted, in the leader's
// term, a heartbeat with that stamp or a later one.
type contacts struct {
	mu       sync.Mutex
	stamp    uint64
	accepted map[raft.ServerID]contact
	changed  chan struct{} // closed and replaced at each acceptance
}

type contact struct{ term, stamp uint64 }

func newContacts() *contacts {
	return &contacts{accepted: map[raft.ServerID]contact{}, changed: make(chan struct{})}
}

// next begins a new stamp and returns it.
func (c *contacts) next() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stamp++
	return c.stamp
}

func (c *contacts) now() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stamp
}

func (c *contacts) accept(id raft.ServerID, got contact) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.accepted[id]
	if got.term < old.term || got.term == old.term && got.stamp <= old.stamp {
		return
	}
	c.accepted[id] = got
	c.wake()
}

func (c *contacts) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// lost tells those who wait that leadership may be gone.
func (c *contacts) lost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wake()
}

// await blocks until a majority of the voters, self among them, has accepted
// stamp in term, or leads says no.
func (c *contacts) await(ctx context.Context, self raft.ServerID, servers []raft.Server, term, stamp uint64, leads func() bool) error {
	for {
		c.mu.Lock()
		if !leads() {
			c.mu.Unlock()
			return errNotLeader
		}
		voters, yes := 0, 0
		for _, s := range servers {
			if s.Suffrage != raft.Voter {
				continue
			}
			voters++
			if got := c.accepted[s.ID]; s.ID == self || got.term == term && got.stamp >= stamp {
				yes++
			}
		}
		changed := c.changed
		c.mu.Unlock()
		if yes > voters/2 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// leaderTransport is what Raft sends through. It stamps heartbeats, and sends
// none while the disk guard holds Raft: a leader that is held while it steps
// down would otherwise keep its followers from electing another.
type leaderTransport struct {
	raft.Transport
	contacts *contacts
	commits  *commits
	disk     *diskGuard
}

var errHeld = errors.New("the data disk of this node does not take writes")

// AppendEntries implements raft.Transport; all heartbeats come through here.
func (t *leaderTransport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if t.disk.holding() {
		return errHeld
	}
	t.commits.observe(args)
	stamp := t.contacts.now()
	if err := t.Transport.AppendEntries(id, target, args, resp); err != nil {
		return err
	}
	if resp.Success && resp.Term == args.Term {
		t.contacts.accept(id, contact{args.Term, stamp})
	}
	t.commits.stored(id, args, resp)
	return nil
}

// AppendEntriesPipeline implements raft.Transport.
func (t *leaderTransport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	if t.disk.holding() {
		return nil, errHeld
	}
	p, err := t.Transport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	out := &leaderPipeline{
		AppendPipeline: p, id: id, commits: t.commits, disk: t.disk,
		answers: make(chan raft.AppendFuture), closed: make(chan struct{}),
	}
	go out.relay() // ends with Close, which Raft calls
	return out, nil
}

// RequestPreVote implements raft.WithPreVote.
func (t *leaderTransport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	p, ok := t.Transport.(raft.WithPreVote)
	if !ok {
		return errors.New("the transport has no pre-vote")
	}
	return p.RequestPreVote(id, target, args, resp)
}

// Close implements raft.WithClose.
func (t *leaderTransport) Close() error {
	if c, ok := t.Transport.(raft.WithClose); ok {
		return c.Close()
	}
	return nil
}

// leaderPipeline is a pipeline that looks at the answers.
type leaderPipeline struct {
	raft.AppendPipeline
	id      raft.ServerID
	commits *commits
	disk    *diskGuard
	answers chan raft.AppendFuture
	once    sync.Once
	closed  chan struct{}
}

func (p *leaderPipeline) relay() {
	in := p.AppendPipeline.Consumer()
	for {
		select {
		case f := <-in:
			p.commits.stored(p.id, f.Request(), f.Response())
			select {
			case p.answers <- f:
			case <-p.closed:
				return
			}
		case <-p.closed:
			return
		}
	}
}

// Consumer implements raft.AppendPipeline.
func (p *leaderPipeline) Consumer() <-chan raft.AppendFuture { return p.answers }

// Close implements raft.AppendPipeline.
func (p *leaderPipeline) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.AppendPipeline.Close()
}

// AppendEntries implements raft.AppendPipeline.
func (p *leaderPipeline) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	if p.disk.holding() {
		return nil, errHeld
	}
	return p.AppendPipeline.AppendEntries(args, resp)
}
