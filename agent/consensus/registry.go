package consensus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/hashicorp/go-memdb"
)

// Registry collects the tables and commands of the packages that keep state.
// It is filled at start, before [Open], and read-only afterwards.
type Registry struct {
	schemas  map[string]*memdb.TableSchema
	rows     map[string]func(json.RawMessage) (any, error)
	empty    map[string]func() any // pointers to empty rows
	commands map[string]map[int]command
}

// command is one version of a registered command. decode checks the input and
// returns what applies it; an input that does not decode never reaches apply.
type command func(data json.RawMessage) (applyFunc, error)

type applyFunc func(tx *Tx) (json.RawMessage, error)

// NewRegistry returns a registry that knows only the package's own commands.
func NewRegistry() *Registry {
	r := &Registry{
		schemas:  map[string]*memdb.TableSchema{},
		rows:     map[string]func(json.RawMessage) (any, error){},
		empty:    map[string]func() any{},
		commands: map[string]map[int]command{},
	}
	registerInternals(r)
	return r
}

// AddTable registers a table whose rows are of type *T. T must survive a
// round trip through encoding/json: that is how snapshots are written. The
// schema needs an index "id". A second table of one name panics.
func AddTable[T any](r *Registry, schema *memdb.TableSchema) {
	AddTableFunc(r, schema, func() any { return new(T) })
}

// Command is a registered change of state with input T and result R.
type Command[T, R any] struct {
	Type    string
	Version int
}

// Proposer is what a command is proposed through: a [Node], or a client that
// forwards to one.
type Proposer interface {
	Propose(ctx context.Context, p Proposal) (json.RawMessage, error)
}

// Register registers one version of a command. apply runs inside the state
// machine on every member, in log order, one at a time: it must be
// deterministic, and must check uniqueness, quotas and preconditions itself.
// An error rolls the whole command back and is returned to the proposer;
// use wire/rpcerr errors so that it keeps its meaning over the network. It is
// final: whatever its code, the same request is not tried again. A panic
// counts as an internal error. The result is remembered with the request id:
// keep it small.
// Registering the same type and version twice panics.
func Register[T, R any](r *Registry, typ string, version int, apply func(tx *Tx, in T) (R, error)) *Command[T, R] {
	r.add(typ, version, func(data json.RawMessage) (applyFunc, error) {
		var in T
		if err := decodeStrict(data, &in); err != nil {
			return nil, fmt.Errorf("input of command %s v%d: %w", typ, version, err)
		}
		return func(tx *Tx) (json.RawMessage, error) {
			out, err := apply(tx, in)
			if err != nil {
				return nil, err
			}
			return json.Marshal(out)
		}, nil
	})
	return &Command[T, R]{Type: typ, Version: version}
}

// add registers one version of a command.
func (r *Registry) add(typ string, version int, c command) {
	if _, dup := r.commands[typ][version]; dup {
		panic(fmt.Sprintf("consensus: command %s v%d is registered twice", typ, version))
	}
	if r.commands[typ] == nil {
		r.commands[typ] = map[int]command{}
	}
	r.commands[typ][version] = c
}

// Option changes one proposal.
type Option func(*Proposal)

// WithID sets the request id. Proposals with the same id are applied once;
// the later ones get the result of the first (as long as it is remembered,
// see [rememberedRequests]). Without it every call is a new request.
func WithID(id string) Option { return func(p *Proposal) { p.ID = id } }

// AsTerm fences the proposal: it is refused inside the state machine unless
// the leader that began this Raft term still is the newest one. Leader-only
// work proposes with the term that it was given.
func AsTerm(term uint64) Option { return func(p *Proposal) { p.Term = term } }

// Propose sends the command through p and waits until it is applied.
func (c *Command[T, R]) Propose(ctx context.Context, p Proposer, in T, opts ...Option) (R, error) {
	var out R
	data, err := json.Marshal(in)
	if err != nil {
		return out, fmt.Errorf("encode %s: %w", c.Type, err)
	}
	prop := Proposal{Type: c.Type, Version: c.Version, Data: data}
	for _, o := range opts {
		o(&prop)
	}
	raw, err := p.Propose(ctx, prop)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return out, fmt.Errorf("decode the result of %s: %w", c.Type, err)
	}
	return out, nil
}

// Rows returns a pointer to an empty row of every table, by the table's name.
func (r *Registry) Rows() map[string]any {
	out := map[string]any{}
	for name, row := range r.empty {
		out[name] = row()
	}
	return out
}

// Capabilities maps a command type to the highest version known.
type Capabilities map[string]int

// Capabilities returns what this build knows.
func (r *Registry) Capabilities() Capabilities {
	out := Capabilities{}
	for typ, versions := range r.commands {
		out[typ] = slices.Max(slices.Collect(maps.Keys(versions)))
	}
	return out
}

func (r *Registry) dbSchema() *memdb.DBSchema {
	return &memdb.DBSchema{Tables: maps.Clone(r.schemas)}
}

func decodeStrict(raw json.RawMessage, v any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("data follow after the end")
	}
	return nil
}
