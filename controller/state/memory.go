package state

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/hashicorp/go-memdb"

	"github.com/stackato/stackato/wire/rpcerr"
)

// NewMemory returns a store over a log of this process alone, for tests: the
// same commands, the same round trip through JSON, no replication.
func NewMemory() *Store {
	schema := &memdb.DBSchema{Tables: map[string]*memdb.TableSchema{}}
	for _, t := range tables {
		schema.Tables[t.Schema.Name] = t.Schema
	}
	db, err := memdb.NewMemDB(schema)
	if err != nil {
		panic(fmt.Sprintf("state: %v", err)) // our own tables
	}
	return New(&memory{db: db, done: map[string]json.RawMessage{}})
}

type memory struct {
	mu    sync.Mutex
	db    *memdb.MemDB
	index uint64
	done  map[string]json.RawMessage // by request id
}

// Propose implements Log.
func (m *memory) Propose(ctx context.Context, p Proposal) (json.RawMessage, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if out, ok := m.done[p.ID]; ok && p.ID != "" {
		return out, nil
	}
	for _, c := range commands {
		if c.Type != p.Type || c.Version != p.Version {
			continue
		}
		apply, err := c.Decode(p.Data)
		if err != nil {
			return nil, rpcerr.New(rpcerr.Invalid, "%w", err)
		}
		m.index++
		txn := m.db.Txn(true)
		defer txn.Abort() // does nothing after Commit
		out, err := apply(txn, m.index)
		if err != nil {
			return nil, err
		}
		txn.Commit()
		m.done[p.ID] = out
		return out, nil
	}
	return nil, rpcerr.New(rpcerr.UnsupportedVersion, "unknown command %s v%d", p.Type, p.Version)
}

// ReadIndex implements Log.
func (m *memory) ReadIndex(ctx context.Context) error { return ctx.Err() }

// Snapshot implements Log.
func (m *memory) Snapshot() (*memdb.Txn, uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.db.Txn(false), m.index
}

// Watch implements Log.
func (m *memory) Watch(ctx context.Context, read func(*memdb.Txn, memdb.WatchSet, uint64)) error {
	txn, index := m.Snapshot()
	ws := memdb.NewWatchSet()
	read(txn, ws, index)
	return ws.WatchCtx(ctx)
}
