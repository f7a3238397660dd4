package main

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/instance"
)

// voters answers for those nodes that are up.
type voters struct {
	agent.NodeCalls // what is not asked here

	up    map[node.ID]bool
	asked []node.ID
}

func (v *voters) Placed(_ context.Context, n node.Node, ids []string) (map[string]instance.Placement, error) {
	v.asked = append(v.asked, n.ID)
	if !v.up[n.ID] {
		return nil, errors.New("it is away")
	}
	out := map[string]instance.Placement{}
	for _, id := range ids {
		out[id] = instance.Placement{Node: "dea"}
	}
	return out, nil
}

// A controller that is no voter runs no Nomad server: it asks those that do.
func TestPlacementsAskVoters(t *testing.T) {
	c := cloudOf([]node.Node{{ID: "c1"}, {ID: "c2"}, {ID: "c3"}, {ID: "c4"}}, "c2", "c3")
	ids := make([]string, 2*askPlaced+1)
	for i := range ids {
		ids[i] = string(rune('a' + i))
	}
	v := &voters{up: map[node.ID]bool{"c3": true}}
	c.env.Nodes = v
	got, err := placements{c}.Placed(t.Context(), ids)
	if err != nil || len(got) != len(ids) {
		t.Errorf("%d placements, %v; want %d", len(got), err, len(ids))
	}
	if diff := cmp.Diff([]node.ID{"c2", "c3", "c3", "c3"}, v.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	v.up = nil
	if _, err := (placements{c}).Placed(t.Context(), ids); err == nil {
		t.Error("nobody answers, and that is no error")
	}
}
