package consensus

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestCommitsAreToldAtOnce writes through every node of a group whose leader
// would tell followers of a commit after an hour only.
func TestCommitsAreToldAtOnce(t *testing.T) {
	c := newTestCluster(t)
	c.change = func(cfg *Config) { cfg.Timing.Commit = time.Hour }
	c.form(3)
	c.leader()
	for i := range 30 {
		n := c.nodes[i%3]
		set(t, n, "a", int64(i))
		if v, _ := value(n, "a"); v != int64(i) {
			t.Fatalf("%s reads %d after it wrote %d", n.id, v, i)
		}
		for _, o := range c.others(n) {
			eventually(t, "the write on all nodes, though nothing follows it", func() bool {
				v, _ := value(o, "a")
				return v == int64(i)
			})
		}
	}
}

// TestWhoIsToldOfACommit follows what the answers of followers come to.
func TestWhoIsToldOfACommit(t *testing.T) {
	c := newCommits()
	entries := func(term, index uint64) *raft.AppendEntriesRequest {
		return &raft.AppendEntriesRequest{Term: term, Entries: []*raft.Log{{Index: index}}}
	}
	yes, no := &raft.AppendEntriesResponse{Success: true}, &raft.AppendEntriesResponse{}
	want := func(term, index uint64, followers int) {
		t.Helper()
		m, to := c.message()
		if m.Term != term || m.PrevLogEntry != index || m.LeaderCommitIndex != index || len(m.Entries) != 0 || len(to) != followers {
			t.Errorf("%d are told %+v, want %d of entry %d in term %d", len(to), m, followers, index, term)
		}
	}
	c.observe(entries(2, 7))
	c.apply(position{7, 2})
	want(2, 7, 0)
	c.stored("a", entries(2, 7), yes)
	c.stored("b", entries(2, 6), yes)
	c.stored("c", entries(2, 7), no)
	c.stored("d", entries(1, 7), yes) // an answer from before
	want(2, 7, 1)
	c.stored("b", entries(2, 7), yes)
	want(2, 7, 2)
	c.apply(position{8, 2})
	want(2, 8, 0)
	c.observe(entries(3, 9)) // what followers had in the term before may be cut off
	want(3, 8, 0)
}
