package state

import (
	"fmt"

	"github.com/hashicorp/go-memdb"
)

// byKey is an index over a text made from the row, for what fields alone do
// not say; a row whose text is empty is not found by it.
func byKey[T any](name string, key func(*T) string) *memdb.IndexSchema {
	return &memdb.IndexSchema{Name: name, AllowMissing: true, Indexer: computed[T]{key}}
}

// uniqueKey is byKey for a text that no two rows share; see unique.
func uniqueKey[T any](name string, key func(*T) string) *memdb.IndexSchema {
	return &memdb.IndexSchema{Name: name, Unique: true, AllowMissing: true, Indexer: computed[T]{key}}
}

type computed[T any] struct{ key func(*T) string }

// FromObject implements memdb.SingleIndexer.
func (c computed[T]) FromObject(raw any) (bool, []byte, error) {
	row, ok := raw.(*T)
	if !ok {
		return false, nil, fmt.Errorf("row is a %T", raw)
	}
	key := c.key(row)
	return key != "", []byte(key + "\x00"), nil
}

// FromArgs implements memdb.Indexer; the argument is the text.
func (computed[T]) FromArgs(args ...any) ([]byte, error) {
	if len(args) != 1 {
		return nil, fmt.Errorf("want one text, have %d arguments", len(args))
	}
	key, ok := args[0].(string)
	if !ok {
		return nil, fmt.Errorf("want a text, have %T", args[0])
	}
	return []byte(key + "\x00"), nil
}
