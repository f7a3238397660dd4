package agent

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/wire/rpcerr"
)

// TestFoundingIsTriedAgain: an agent must not end because nobody knows whether
// the first rows of its cluster were written, as on a machine without time.
func TestFoundingIsTriedAgain(t *testing.T) {
	unknown := rpcerr.New(rpcerr.Deadline, "whether the change was made is not known: %v", "no Primary")
	for _, passing := range []error{unknown, fmt.Errorf("found: %w", unknown), rpcerr.New(rpcerr.Unavailable, "no Primary"), context.DeadlineExceeded} {
		tries := 0
		err := retry(t.Context(), func() error {
			if tries++; tries < 3 {
				return passing
			}
			return nil
		})
		if err != nil || tries != 3 {
			t.Errorf("%v: gave up after %d tries", err, tries)
		}
	}
	for _, final := range []error{rpcerr.New(rpcerr.Conflict, "founded"), rpcerr.New(rpcerr.Internal, "broken"), context.Canceled} {
		if err := retry(t.Context(), func() error { return final }); !errors.Is(err, final) {
			t.Errorf("%v, want %v", err, final)
		}
	}
}

// TestAskEach: who is asked after an error, and which error is told at last.
func TestAskEach(t *testing.T) {
	away := rpcerr.New(rpcerr.Unavailable, "away")
	lost := rpcerr.New(rpcerr.Deadline, "the connection broke: %w", rpc.ErrLost)
	late := rpcerr.New(rpcerr.Deadline, "no answer in time")
	denied := rpcerr.New(rpcerr.Denied, "not you")
	tests := []struct {
		name    string
		reads   bool
		answers []error
		asked   int
		want    error
	}{
		{"the first one answers", false, []error{nil, nil}, 1, nil},
		{"the first one is away", false, []error{away, nil}, 2, nil},
		{"one is left out", false, []error{errLeftOut, nil}, 2, nil},
		{"all are left out", false, []error{errLeftOut}, 1, rpcerr.Unavailable},
		{"refused", true, []error{denied, nil}, 1, denied},
		{"late", true, []error{late, nil}, 1, late},
		{"lost while it may have been done", false, []error{lost, nil}, 1, lost},
		{"lost while reading", true, []error{lost, nil}, 2, nil},
		{"both lost while reading", true, []error{lost, lost}, 2, lost},
		{"lost, and the next refuses", true, []error{lost, denied}, 2, denied},
		{"lost, and the next is away", true, []error{lost, away}, 2, lost},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			nodes := make([]node.Node, len(tt.answers))
			for i := range nodes {
				nodes[i].RPCPort = i
			}
			var asked []int
			resp, err := askEach(t.Context(), tt.reads, nodes, func(n node.Node) (*int, error) {
				asked = append(asked, n.RPCPort)
				return &n.RPCPort, tt.answers[n.RPCPort]
			})
			if !errors.Is(err, tt.want) || (err == nil) != (resp != nil) {
				t.Errorf("got %v, %v, want %v", resp, err, tt.want)
			}
			if want := []int{0, 1}[:tt.asked]; !cmp.Equal(asked, want) {
				t.Errorf("asked %v, want %v", asked, want)
			}
		})
	}
	// Whose time is over asks nobody else.
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	_, err := askEach(ctx, true, make([]node.Node, 2), func(node.Node) (*int, error) {
		asked++
		cancel()
		return nil, lost
	})
	if asked != 1 || !errors.Is(err, rpc.ErrLost) {
		t.Errorf("asked %d, %v", asked, err)
	}
}
