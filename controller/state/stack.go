package state

import (
	"context"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

var stacks = newTable[cf.Stack]("cf_stacks", byGUID(), unique("name", "Name"))

// Stack returns one stack.
func (v *View) Stack(guid string) (cf.Stack, bool) { return stacks.get(v, "id", guid) }

// StackByName finds a stack.
func (v *View) StackByName(name string) (cf.Stack, bool) { return stacks.get(v, "name", name) }

// Stacks returns all stacks, in no useful order.
func (v *View) Stacks() []cf.Stack { return stacks.list(v, "id") }

// StackUpdate changes a stack's metadata.
type StackUpdate struct {
	GUID     string           `json:"guid"`
	Metadata cf.MetadataPatch `json:"metadata"`
	At       time.Time        `json:"at"`
}

var updateStack = newCommand("cf.stack.update", 1, func(tx *Tx, in StackUpdate) (cf.Stack, error) {
	s, ok := stacks.get(tx, "id", in.GUID)
	if !ok {
		return s, cf.ErrNotFound.With("Stack not found")
	}
	s.Metadata, s.UpdatedAt = s.Patched(in.Metadata), in.At
	stacks.put(tx, s)
	return s, nil
})

// UpdateStack changes a stack's metadata and returns the stack.
func (s *Store) UpdateStack(ctx context.Context, u StackUpdate) (cf.Stack, error) {
	return updateStack.do(ctx, s, u)
}
