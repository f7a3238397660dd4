package state

import (
	"fmt"
	"time"

	"github.com/hashicorp/go-memdb"
)

// byTime is an index of rows by a time of theirs, the earliest first. It is
// walked by its prefix.
func byTime[T any](name string, at func(*T) time.Time) *memdb.IndexSchema {
	return &memdb.IndexSchema{Name: name, Indexer: timeIndex[T]{at}}
}

type timeIndex[T any] struct{ at func(*T) time.Time }

// FromObject implements memdb.SingleIndexer.
func (x timeIndex[T]) FromObject(raw any) (bool, []byte, error) {
	row, ok := raw.(*T)
	if !ok {
		return false, nil, fmt.Errorf("row is a %T", raw)
	}
	return true, timeKey(x.at(row)), nil
}

// FromArgs implements memdb.Indexer; the argument is a time.
func (timeIndex[T]) FromArgs(args ...any) ([]byte, error) {
	if len(args) == 1 {
		if t, ok := args[0].(time.Time); ok {
			return timeKey(t), nil
		}
	}
	return nil, fmt.Errorf("want one time, have %v", args)
}

// PrefixFromArgs implements memdb.PrefixIndexer: it finds every row, in order.
func (timeIndex[T]) PrefixFromArgs(...any) ([]byte, error) { return nil, nil }

// pruneExpired removes rows whose time, as the index "expires" has it, is past;
// no more than 100 at once, so that no command becomes long.
func pruneExpired[T any](tx *Tx, t table[T], now time.Time, of func(T) (id string, expires time.Time)) {
	var doomed []string
	for row := range t.each(tx, "expires_prefix", "") {
		id, expires := of(row)
		if now.Before(expires) || len(doomed) == 100 {
			break
		}
		doomed = append(doomed, id)
	}
	for _, id := range doomed {
		t.remove(tx, "id", id)
	}
}
