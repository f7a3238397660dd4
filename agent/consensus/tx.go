package consensus

import (
	"fmt"

	"github.com/hashicorp/go-memdb"
)

// Reader is a consistent view of the tables at one index.
type Reader interface {
	raw() *memdb.Txn
	watchSet() memdb.WatchSet
}

// View is a read-only snapshot of the state. It is safe for use by one
// goroutine; it does not see later changes.
type View struct {
	txn   *memdb.Txn
	index uint64
	watch memdb.WatchSet // nil unless made by [State.Watch]
}

func (v *View) raw() *memdb.Txn          { return v.txn }
func (v *View) watchSet() memdb.WatchSet { return v.watch }

// Index is the Raft index that the view shows.
func (v *View) Index() uint64 { return v.index }

// Tx is the transaction of one command.
type Tx struct {
	txn *memdb.Txn
	// Index is the Raft index of the command.
	Index uint64
}

func (t *Tx) raw() *memdb.Txn          { return t.txn }
func (t *Tx) watchSet() memdb.WatchSet { return nil }

// Put inserts the row or replaces the one with the same id. The row is kept:
// it must not be changed afterwards.
func Put[T any](t *Tx, table string, row T) error {
	if err := t.txn.Insert(table, &row); err != nil {
		return fmt.Errorf("put into %s: %w", table, err)
	}
	return nil
}

// Delete removes the rows that match; it returns how many there were.
func Delete(t *Tx, table, index string, args ...any) (int, error) {
	n, err := t.txn.DeleteAll(table, index, args...)
	if err != nil {
		return 0, fmt.Errorf("delete from %s: %w", table, err)
	}
	return n, nil
}

// Get returns a copy of the first row that matches. Slices and maps inside it
// are shared with the store and must not be changed. An unknown table or
// index panics: that is a mistake in the program.
func Get[T any](r Reader, table, index string, args ...any) (T, bool) {
	var zero T
	ch, row, err := r.raw().FirstWatch(table, index, args...)
	if err != nil {
		panic(fmt.Sprintf("consensus: get from %s by %s: %v", table, index, err))
	}
	if ws := r.watchSet(); ws != nil {
		ws.Add(ch)
	}
	if row == nil {
		return zero, false
	}
	return *row.(*T), true
}

// List returns copies of the rows that match, in the order of the index; the
// rules of [Get] hold for what is inside them.
func List[T any](r Reader, table, index string, args ...any) []T {
	it, err := r.raw().Get(table, index, args...)
	if err != nil {
		panic(fmt.Sprintf("consensus: list %s by %s: %v", table, index, err))
	}
	if ws := r.watchSet(); ws != nil {
		ws.Add(it.WatchCh())
	}
	out := []T{}
	for row := it.Next(); row != nil; row = it.Next() {
		out = append(out, *row.(*T))
	}
	return out
}
