package state

import (
	"context"

	"github.com/hashicorp/go-memdb"
)

// Store offers the resources. It is safe for concurrent use; each resource's
// methods stand in its file.
type Store struct {
	log  Log
	term uint64
	kept *kept
}

// New returns a store over a log that knows [Tables] and [Commands].
func New(log Log) *Store { return &Store{log: log, kept: &kept{}} }

// AsTerm returns a store whose writes are refused once a Primary of a later
// term has begun: for work that only the Primary does.
func (s *Store) AsTerm(term uint64) *Store { return &Store{log: s.log, term: term, kept: s.kept} }

// Read returns a view that shows everything acknowledged before the call.
// Without a Primary it fails with cf.ErrServiceUnavailable after about 5 s.
func (s *Store) Read(ctx context.Context) (*View, error) {
	if err := s.log.ReadIndex(ctx); err != nil {
		return nil, fromWire(err)
	}
	return s.Local(), nil
}

// Local returns a view of what this controller has applied; it can lag.
func (s *Store) Local() *View {
	txn, index := s.log.Snapshot()
	return &View{txn: txn, index: index, kept: s.kept}
}

// Watch calls read with a view and blocks until something that read looked at
// has changed, or ctx is done: then it returns ctx's error. Wake-ups can be
// spurious.
func (s *Store) Watch(ctx context.Context, read func(*View)) error {
	return s.log.Watch(ctx, func(txn *memdb.Txn, ws memdb.WatchSet, index uint64) {
		read(&View{txn, ws, index, s.kept})
	})
}
