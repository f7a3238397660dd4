package consensus

import (
	"encoding/json"

	"github.com/hashicorp/go-memdb"
)

// AddTableFunc is [AddTable] for packages that do not import this one: newRow
// returns a pointer to an empty row.
func AddTableFunc(r *Registry, schema *memdb.TableSchema, newRow func() any) {
	if _, dup := r.schemas[schema.Name]; dup {
		panic("consensus: table " + schema.Name + " is registered twice")
	}
	r.schemas[schema.Name] = schema
	r.empty[schema.Name] = newRow
	r.rows[schema.Name] = func(raw json.RawMessage) (any, error) {
		row := newRow()
		return row, decodeStrict(raw, row)
	}
}

// RegisterFunc is [Register] for packages that do not import this one: decode
// checks an input and returns what applies it. The rules of Register hold.
func RegisterFunc(r *Registry, typ string, version int,
	decode func(data json.RawMessage) (func(txn *memdb.Txn, index uint64) (json.RawMessage, error), error),
) {
	r.add(typ, version, func(data json.RawMessage) (applyFunc, error) {
		apply, err := decode(data)
		if err != nil {
			return nil, err
		}
		return func(tx *Tx) (json.RawMessage, error) { return apply(tx.txn, tx.Index) }, nil
	})
}

// Txn is the view's own read transaction.
func (v *View) Txn() *memdb.Txn { return v.txn }

// WatchSet collects what [State.Watch] waits for; nil in other views.
func (v *View) WatchSet() memdb.WatchSet { return v.watch }
