package state

import (
	"context"
	"encoding/json"

	"github.com/hashicorp/go-memdb"
)

// Proposal is a command on its way into the log.
type Proposal struct {
	// ID makes a repeated proposal be applied once; "" is a new one.
	ID      string
	Type    string
	Version int
	Data    json.RawMessage
	// Term, if not 0, fences the proposal: it is refused once another
	// Primary has taken over.
	Term uint64
}

// Log is the replicated log and what this controller has applied of it. All
// methods are safe for concurrent use.
type Log interface {
	// Propose returns the command's result when it is applied and this
	// controller shows it.
	Propose(ctx context.Context, p Proposal) (json.RawMessage, error)
	// ReadIndex returns when this controller shows everything that was
	// acknowledged anywhere before the call.
	ReadIndex(ctx context.Context) error
	// Snapshot is what this controller shows now, and its index.
	Snapshot() (*memdb.Txn, uint64)
	// Watch calls read with a snapshot and a set to which read adds what it
	// looks at, and blocks until something of it changes or ctx is done
	// (then it returns ctx's error). Wake-ups can be spurious.
	Watch(ctx context.Context, read func(txn *memdb.Txn, ws memdb.WatchSet, index uint64)) error
}

// TableInfo is one table, for whoever keeps the log.
type TableInfo struct {
	Schema *memdb.TableSchema
	New    func() any // a pointer to an empty row, to decode a snapshot into
}

// CommandInfo is one version of one command, for whoever keeps the log.
type CommandInfo struct {
	Type    string
	Version int
	// Decode checks the input and returns what applies it; the caller
	// commits the transaction, or aborts it upon an error.
	Decode func(data json.RawMessage) (func(txn *memdb.Txn, index uint64) (json.RawMessage, error), error)
}

var (
	tables   []TableInfo
	commands []CommandInfo
)

// Tables lists every table of the package.
func Tables() []TableInfo { return tables }

// Commands lists every command of the package.
func Commands() []CommandInfo { return commands }
