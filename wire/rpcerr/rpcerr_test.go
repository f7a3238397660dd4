package rpcerr_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stackato/stackato/wire/rpcerr"
)

type coded struct{ code string }

func (c coded) Error() string { return "coded " + c.code }
func (c coded) Code() string  { return c.code }
func (c coded) Hint() string  { return "do this" }

func TestFrom(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want *rpcerr.Error
	}{
		{"nil", nil, nil},
		{"plain", io.EOF, &rpcerr.Error{ErrCode: rpcerr.Internal, Message: "EOF"}},
		{"deadline", fmt.Errorf("ask: %w", context.DeadlineExceeded), &rpcerr.Error{ErrCode: rpcerr.Deadline, Message: "ask: context deadline exceeded"}},
		{
			"wrapped keeps code, hint and adds text", fmt.Errorf("add role: %w", rpcerr.New(rpcerr.Conflict, "name %q is taken", "n1").WithHint("use another")),
			&rpcerr.Error{ErrCode: rpcerr.Conflict, Message: `add role: name "n1" is taken`, ErrHint: "use another"},
		},
		{"bare code", fmt.Errorf("x: %w", rpcerr.NotFound), &rpcerr.Error{ErrCode: rpcerr.NotFound, Message: "x: not_found"}},
		{"coder", coded{"denied"}, &rpcerr.Error{ErrCode: rpcerr.Denied, Message: "coded denied", ErrHint: "do this"}},
		{"unknown code", coded{"nonsense"}, &rpcerr.Error{ErrCode: rpcerr.Internal, Message: "coded nonsense", ErrHint: "do this"}},
		{"retryable", rpcerr.New(rpcerr.Unavailable, "no leader"), &rpcerr.Error{ErrCode: rpcerr.Unavailable, Message: "no leader", Retryable: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, rpcerr.From(tt.err), cmpopts.IgnoreUnexported(rpcerr.Error{})); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func TestIsSurvivesTheWire(t *testing.T) {
	sent := rpcerr.New(rpcerr.Precondition, "last controller: %w", io.EOF).WithHint("add one first")
	if !errors.Is(sent, io.EOF) {
		t.Error("the cause is lost on the side where it was made")
	}
	raw, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	got := new(rpcerr.Error)
	if err := json.Unmarshal(raw, got); err != nil {
		t.Fatal(err)
	}
	wrapped := fmt.Errorf("remove role: %w", got)
	if !errors.Is(wrapped, rpcerr.Precondition) || errors.Is(wrapped, rpcerr.Conflict) || errors.Is(wrapped, io.EOF) {
		t.Errorf("codes after the wire: %#v", got)
	}
	if got.Hint() != "add one first" || rpcerr.Of(wrapped) != rpcerr.Precondition || rpcerr.Retryable(wrapped) {
		t.Errorf("after the wire: %#v", got)
	}
}

func TestEveryCodeHasADistinctStatus(t *testing.T) {
	seen := map[int]rpcerr.Code{}
	for c, s := range rpcerr.Codes() {
		if other, dup := seen[s]; dup {
			t.Errorf("%s and %s share status %d", c, other, s)
		}
		seen[s] = c
		if c.HTTPStatus() != s || !c.Known() {
			t.Errorf("%s: status %d, want %d", c, c.HTTPStatus(), s)
		}
	}
	if rpcerr.Code("x").HTTPStatus() != 500 {
		t.Error("an unknown code is not an internal error")
	}
}
