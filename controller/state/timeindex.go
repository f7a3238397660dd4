package state

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/hashicorp/go-memdb"

	"github.com/stackato/stackato/controller/cf"
)

// byCreation is the index "created": rows from the oldest to the newest.
// Rows of T have a field of type cf.Resource.
func byCreation[T any](resource func(*T) cf.Resource) *memdb.IndexSchema {
	return &memdb.IndexSchema{Name: "created", Indexer: creation[T]{resource}}
}

// creation indexes by CreatedAt; it is found by prefix only.
type creation[T any] struct{ resource func(*T) cf.Resource }

// FromObject implements memdb.SingleIndexer.
func (c creation[T]) FromObject(raw any) (bool, []byte, error) {
	row, ok := raw.(*T)
	if !ok {
		return false, nil, fmt.Errorf("row is a %T", raw)
	}
	return true, timeKey(c.resource(row).CreatedAt), nil
}

// FromArgs implements memdb.Indexer; the argument is a time.
func (creation[T]) FromArgs(args ...any) ([]byte, error) {
	if len(args) != 1 {
		return nil, fmt.Errorf("want one time, have %d arguments", len(args))
	}
	t, ok := args[0].(time.Time)
	if !ok {
		return nil, fmt.Errorf("want a time, have %T", args[0])
	}
	return timeKey(t), nil
}

// PrefixFromArgs implements memdb.PrefixIndexer: without arguments it finds
// every row, in order.
func (c creation[T]) PrefixFromArgs(args ...any) ([]byte, error) {
	if len(args) == 0 || args[0] == "" {
		return nil, nil
	}
	return c.FromArgs(args...)
}

func timeKey(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(t.UnixNano()))
}
