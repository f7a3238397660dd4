package state

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/go-memdb"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/wire/rpcerr"
)

// command is a registered change with input In and result Out.
type command[In, Out any] struct {
	typ     string
	version int
}

// newCommand declares one version of a command, as a package variable; see
// the package comment for what apply may do. Inputs are decoded strictly: a
// new field is a new version.
func newCommand[In, Out any](typ string, version int, apply func(tx *Tx, in In) (Out, error)) command[In, Out] {
	commands = append(commands, CommandInfo{
		Type: typ, Version: version,
		Decode: func(data json.RawMessage) (func(*memdb.Txn, uint64) (json.RawMessage, error), error) {
			var in In
			if err := decodeStrict(data, &in); err != nil {
				return nil, fmt.Errorf("input of command %s v%d: %w", typ, version, err)
			}
			return func(txn *memdb.Txn, index uint64) (json.RawMessage, error) {
				out, err := apply(&Tx{txn, index}, in)
				if err != nil {
					return nil, toWire(err)
				}
				return json.Marshal(out)
			}, nil
		},
	})
	return command[In, Out]{typ, version}
}

// do proposes the command and waits for its result.
func (c command[In, Out]) do(ctx context.Context, s *Store, in In) (Out, error) {
	var out Out
	data, err := json.Marshal(in)
	if err != nil {
		return out, fmt.Errorf("encode %s: %w", c.typ, err)
	}
	raw, err := s.log.Propose(ctx, Proposal{ID: requestID(ctx), Type: c.typ, Version: c.version, Data: data, Term: s.term})
	if err != nil {
		return out, fromWire(err)
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return out, fmt.Errorf("decode the result of %s: %w", c.typ, err)
	}
	return out, nil
}

// none is the result of a command that has nothing to say.
type none struct{}

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

// toWire lets a *cf.Error cross the log and the network.
func toWire(err error) error {
	var e *cf.Error
	if !errors.As(err, &e) {
		return err
	}
	data, merr := json.Marshal(e)
	if merr != nil {
		return errors.Join(err, merr)
	}
	code := rpcerr.Precondition
	switch {
	case e.Status == 404:
		code = rpcerr.NotFound
	case e.Code == cf.ErrUniqueness.Code:
		code = rpcerr.Conflict
	}
	return rpcerr.New(code, "%s", e.Detail).WithData(data)
}

// fromWire turns an error of Propose back into a *cf.Error. "No leader" is
// the API's 503.
func fromWire(err error) error {
	var w *rpcerr.Error
	if !errors.As(err, &w) {
		return err
	}
	e := new(cf.Error)
	if len(w.Data) > 0 && json.Unmarshal(w.Data, e) == nil && e.Title != "" {
		return e
	}
	if w.ErrCode == rpcerr.Unavailable {
		return cf.ErrServiceUnavailable
	}
	return err
}

type requestIDKey struct{}

// WithRequestID lets the next proposal made with the context be repeated
// safely: proposals with one id are applied once. Use it for one command.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}
