package state

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/stackato/stackato/controller/cf"
)

// Batch collects commands that are applied together, in order, or not at all:
// the methods of a Batch have the names and contracts of the Store's.
type Batch struct{ Commands []BatchCommand }

// BatchCommand is one command of a batch.
type BatchCommand struct {
	Type    string          `json:"type"`
	Version int             `json:"version"`
	Data    json.RawMessage `json:"data"`
}

// Len is how many commands the batch holds.
func (b *Batch) Len() int { return len(b.Commands) }

// queue adds the command to a batch.
func (c command[In, Out]) queue(b *Batch, in In) {
	data, err := json.Marshal(in)
	if err != nil { // our own types
		panic(fmt.Sprintf("state: encode %s: %v", c.typ, err))
	}
	b.Commands = append(b.Commands, BatchCommand{c.typ, c.version, data})
}

const batchType = "cf.batch"

var applyBatch = newCommand(batchType, 1, func(tx *Tx, in []BatchCommand) (none, error) {
	for i, bc := range in {
		if bc.Type == batchType {
			return none{}, cf.ErrServer.With("A batch holds no batches.")
		}
		info, ok := findCommand(bc.Type, bc.Version)
		if !ok {
			return none{}, cf.ErrServer.With("Unknown command %s v%d", bc.Type, bc.Version)
		}
		apply, err := info.Decode(bc.Data)
		if err != nil {
			return none{}, cf.ErrServer.With("Command %s of a batch: %v", strconv.Itoa(i), err)
		}
		if _, err := apply(tx.txn, tx.Index); err != nil {
			return none{}, fromWire(err)
		}
	}
	return none{}, nil
})

func findCommand(typ string, version int) (CommandInfo, bool) {
	for _, c := range commands {
		if c.Type == typ && c.Version == version {
			return c, true
		}
	}
	return CommandInfo{}, false
}

// Apply applies the batch; an error is that of the first command that was
// refused.
func (s *Store) Apply(ctx context.Context, b *Batch) error {
	if b.Len() == 0 {
		return nil
	}
	_, err := applyBatch.do(ctx, s, b.Commands)
	return err
}
