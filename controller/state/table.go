package state

import (
	"fmt"
	"iter"

	"github.com/hashicorp/go-memdb"
)

// reader is a View or a Tx.
type reader interface {
	handle() *memdb.Txn
	watches() memdb.WatchSet
}

// View is a consistent, read-only snapshot. It is safe for use by one
// goroutine. Maps and slices inside rows are shared: never change them.
type View struct {
	txn   *memdb.Txn
	ws    memdb.WatchSet // nil unless made by [Store.Watch]
	index uint64
	kept  *kept
}

func (v *View) handle() *memdb.Txn      { return v.txn }
func (v *View) watches() memdb.WatchSet { return v.ws }

// Index is the index of the log that the view shows.
func (v *View) Index() uint64 { return v.index }

// Tx is the transaction of one command.
type Tx struct {
	txn *memdb.Txn
	// Index is the command's own index in the log.
	Index uint64
}

func (t *Tx) handle() *memdb.Txn      { return t.txn }
func (t *Tx) watches() memdb.WatchSet { return nil }

// table is a table of rows of type T.
type table[T any] struct{ name string }

// newTable declares a table, as a package variable. T must survive a round
// trip through encoding/json. One index must be called "id".
func newTable[T any](name string, indexes ...*memdb.IndexSchema) table[T] {
	s := &memdb.TableSchema{Name: name, Indexes: map[string]*memdb.IndexSchema{}}
	for _, i := range indexes {
		s.Indexes[i.Name] = i
	}
	if err := s.Validate(); err != nil {
		panic(fmt.Sprintf("state: table %s: %v", name, err))
	}
	tables = append(tables, TableInfo{Schema: s, New: func() any { return new(T) }})
	return table[T]{name}
}

// get returns the first row that an index finds.
func (t table[T]) get(r reader, index string, args ...any) (row T, ok bool) {
	ch, raw, err := r.handle().FirstWatch(t.name, index, args...)
	if err != nil {
		panic(fmt.Sprintf("state: get from %s by %s: %v", t.name, index, err)) // a mistake in the program
	}
	if ws := r.watches(); ws != nil {
		ws.Add(ch)
	}
	if raw == nil {
		return row, false
	}
	return *raw.(*T), true
}

// each yields the rows that an index finds, in the index' order. The table
// must not be changed meanwhile: collect first.
func (t table[T]) each(r reader, index string, args ...any) iter.Seq[T] {
	rows := t.refs(r, index, args...)
	return func(yield func(T) bool) {
		for row := range rows {
			if !yield(*row) {
				return
			}
		}
	}
}

// refs is each without copies: the rows are the state's own and must never be
// changed. It is for tables that grow large.
func (t table[T]) refs(r reader, index string, args ...any) iter.Seq[*T] {
	it, err := r.handle().Get(t.name, index, args...)
	if err != nil {
		panic(fmt.Sprintf("state: list %s by %s: %v", t.name, index, err))
	}
	if ws := r.watches(); ws != nil {
		ws.Add(it.WatchCh())
	}
	return func(yield func(*T) bool) {
		for raw := it.Next(); raw != nil; raw = it.Next() {
			if !yield(raw.(*T)) {
				return
			}
		}
	}
}

// list returns the rows that an index finds.
func (t table[T]) list(r reader, index string, args ...any) []T {
	out := []T{}
	for row := range t.each(r, index, args...) {
		out = append(out, row)
	}
	return out
}

// has reports whether an index finds a row.
func (t table[T]) has(r reader, index string, args ...any) bool {
	_, ok := t.get(r, index, args...)
	return ok
}

// put inserts the row or replaces the one with the same id.
func (t table[T]) put(tx *Tx, row T) {
	if err := tx.txn.Insert(t.name, &row); err != nil {
		panic(fmt.Sprintf("state: put into %s: %v", t.name, err))
	}
}

// remove deletes the rows that an index finds; it returns how many.
func (t table[T]) remove(tx *Tx, index string, args ...any) int {
	n, err := tx.txn.DeleteAll(t.name, index, args...)
	if err != nil {
		panic(fmt.Sprintf("state: delete from %s by %s: %v", t.name, index, err))
	}
	return n
}

// byGUID is the index "id" of resources.
func byGUID() *memdb.IndexSchema {
	return &memdb.IndexSchema{Name: "id", Unique: true, Indexer: &memdb.StringFieldIndex{Field: "GUID"}}
}

// unique is an index over string fields that no two rows share; it is for
// lookup: memdb does not refuse a second row, commands must.
func unique(name string, fields ...string) *memdb.IndexSchema {
	return &memdb.IndexSchema{Name: name, Unique: true, AllowMissing: true, Indexer: over(false, fields)}
}

// uniqueName is the index "name": unique, without regard to case.
func uniqueName(fields ...string) *memdb.IndexSchema {
	return &memdb.IndexSchema{Name: "name", Unique: true, AllowMissing: true, Indexer: over(true, fields)}
}

// by is an index over string fields that rows may share. A row whose field is
// empty is not found by it.
func by(name string, fields ...string) *memdb.IndexSchema {
	return &memdb.IndexSchema{Name: name, AllowMissing: true, Indexer: over(false, fields)}
}

func over(fold bool, fields []string) memdb.Indexer {
	if len(fields) == 1 {
		return &memdb.StringFieldIndex{Field: fields[0], Lowercase: fold}
	}
	c := &memdb.CompoundIndex{}
	for _, f := range fields {
		c.Indexes = append(c.Indexes, &memdb.StringFieldIndex{Field: f, Lowercase: fold})
	}
	return c
}
