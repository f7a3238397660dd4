package consensus

import (
	"context"
	"fmt"
	"sync"

	"github.com/hashicorp/go-memdb"
)

// State is the set of tables on this node. All methods are safe for
// concurrent use; readers never block writers.
type State struct {
	mu      sync.RWMutex // guards the fields; rows are read without it
	db      *memdb.MemDB
	applied uint64
	changed chan struct{} // closed and replaced at each change
}

func newState(schema *memdb.DBSchema) (*State, error) {
	db, err := memdb.NewMemDB(schema)
	if err != nil {
		return nil, fmt.Errorf("state tables: %w", err)
	}
	return &State{db: db, changed: make(chan struct{})}, nil
}

// Read returns a view of what this node has applied; it can be behind the
// cluster. Call [Node.ReadIndex] first where that matters.
func (s *State) Read() *View {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return &View{txn: s.db.Txn(false), index: s.applied}
}

// Watch runs read over a view and then blocks until something that read
// looked at has changed, or ctx is done; it returns ctx's error then.
// Wake-ups can be spurious.
func (s *State) Watch(ctx context.Context, read func(*View)) error {
	s.mu.RLock()
	v := &View{txn: s.db.Txn(false), index: s.applied, watch: memdb.NewWatchSet()}
	// A restored snapshot replaces the whole database: its watchers are
	// woken by the abandon channel, see commitRestore.
	v.watch.Add(s.abandoned())
	s.mu.RUnlock()
	read(v)
	return v.watch.WatchCtx(ctx)
}

// Applied returns the index of the last log entry that this node's tables
// show.
func (s *State) Applied() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.applied
}

// WaitApplied blocks until the tables show index or a later one.
func (s *State) WaitApplied(ctx context.Context, index uint64) error {
	for {
		s.mu.RLock()
		applied, changed := s.applied, s.changed
		s.mu.RUnlock()
		if applied >= index {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// commit publishes a command's transaction (nil if it changed nothing) and
// its index together, and wakes those who wait for the index.
func (s *State) commit(txn *memdb.Txn, index uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if txn != nil {
		txn.Commit()
	}
	s.applied = index
	close(s.changed)
	s.changed = make(chan struct{})
}

// commitRestore replaces the whole content by that of db at index.
func (s *State) commitRestore(db *memdb.MemDB, index uint64) {
	s.mu.Lock()
	old := s.db
	s.db, s.applied = db, index
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	wakeWatchers(old)
}

// abandoned returns a channel that fires when this database is replaced.
func (s *State) abandoned() <-chan struct{} {
	ch, _, err := s.db.Txn(false).FirstWatch(generationTable, "id")
	if err != nil {
		panic(fmt.Sprintf("consensus: %v", err)) // our own table and index
	}
	return ch
}

// wakeWatchers fires every watch on a database that nobody writes to any more.
func wakeWatchers(db *memdb.MemDB) {
	txn := db.Txn(true)
	defer txn.Commit()
	if err := txn.Insert(generationTable, &generation{ID: "abandoned"}); err != nil {
		panic(fmt.Sprintf("consensus: %v", err)) // our own table and row
	}
}
