package consensus

import (
	"context"
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

// Followers learn from Raft what is committed with the next entry, or after
// the commit time-out, and until then a write that was made through one of them
// does not show there. So the leader tells them at once: by an append without
// entries, as Raft itself sends it after the time-out.
//
// It is safe whatever happens in between. The message has the term, the leader
// and the addresses of one that Raft has sent; its commit index is that of an
// entry which was applied here; and it names that entry as the one before, so
// that a follower with another one there refuses it.

// position is the place of an entry in the log.
type position struct{ index, term uint64 }

// commits knows what a leader may tell.
type commits struct {
	mu      sync.Mutex
	applied position
	sent    raft.AppendEntriesRequest // of Raft, without entries and positions
	has     map[raft.ServerID]uint64  // what each follower has stored, in the term of sent
	wake    chan struct{}
}

func newCommits() *commits {
	return &commits{has: map[raft.ServerID]uint64{}, wake: make(chan struct{}, 1)}
}

// apply notes an entry that the state machine has applied.
func (c *commits) apply(at position) {
	c.mu.Lock()
	c.applied = at
	c.mu.Unlock()
	c.look()
}

// look lets tellCommits look again.
func (c *commits) look() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// stored notes a follower's answer to an append of Raft.
func (c *commits) stored(id raft.ServerID, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) {
	if !resp.Success || len(args.Entries) == 0 {
		return
	}
	c.mu.Lock()
	if args.Term == c.sent.Term {
		c.has[id] = args.Entries[len(args.Entries)-1].Index
	}
	c.mu.Unlock()
	c.look()
}

// observe notes how Raft addresses followers.
func (c *commits) observe(args *raft.AppendEntriesRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if args.Term > c.sent.Term {
		clear(c.has)
		c.sent = raft.AppendEntriesRequest{RPCHeader: args.RPCHeader, Term: args.Term}
	}
}

// message is what those followers are told that have stored the entry.
func (c *commits) message() (m raft.AppendEntriesRequest, to []raft.ServerID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m = c.sent
	m.PrevLogEntry, m.PrevLogTerm, m.LeaderCommitIndex = c.applied.index, c.applied.term, c.applied.index
	for id, index := range c.has {
		if index >= c.applied.index {
			to = append(to, id)
		}
	}
	return m, to
}

// tellCommits tells the followers while this node leads, until ctx ends. Each
// is told one thing at a time; one that does not answer is left alone until
// the transport gives up.
func (n *Node) tellCommits(ctx context.Context) {
	told := map[raft.ServerID]uint64{} // index
	busy := map[raft.ServerID]bool{}
	answered := make(chan raft.ServerID)
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-answered:
			delete(busy, id)
		case <-n.commits.wake:
		}
		m, to := n.commits.message()
		if len(to) == 0 || n.raft.State() != raft.Leader || n.raft.LastIndex() > m.PrevLogEntry {
			continue // followers hear of the next entry soon, and with it of this one
		}
		for _, s := range n.raft.GetConfiguration().Configuration().Servers {
			if !slices.Contains(to, s.ID) || busy[s.ID] || told[s.ID] >= m.PrevLogEntry {
				continue
			}
			busy[s.ID], told[s.ID] = true, m.PrevLogEntry
			go func() { // ends at the latest with the transport's time-out
				_ = n.toFollowers.AppendEntries(s.ID, s.Address, &m, &raft.AppendEntriesResponse{}) // else Raft tells it later
				select {
				case answered <- s.ID:
				case <-ctx.Done():
				}
			}()
		}
	}
}
