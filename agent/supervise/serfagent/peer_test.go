package serfagent

import (
	"context"
	"errors"
	"slices"
	"testing"
)

// group is a Raft configuration of the test's own.
type group struct {
	peers        []Peer
	list, remove error // of the two calls
	raced        bool  // the removal fails because somebody else was first
	removed      bool  // the removal was asked for
}

func (g *group) RaftPeers(context.Context) ([]Peer, error) { return slices.Clone(g.peers), g.list }

func (g *group) RemovePeer(_ context.Context, id string) error {
	g.removed = true
	if g.remove == nil || g.raced {
		g.peers = slices.DeleteFunc(g.peers, func(p Peer) bool { return p.ID == id })
	}
	return g.remove
}

func TestStepDown(t *testing.T) {
	t.Parallel()
	peers := func(ids ...string) (out []Peer) {
		for _, id := range ids {
			out = append(out, Peer{ID: id})
		}
		return out
	}
	broken := errors.New("no leader")
	for name, c := range map[string]struct {
		group
		want    error
		removes bool
	}{
		"one of three":        {group: group{peers: peers("a", "b", "me")}, removes: true},
		"the last one stays":  {group: group{peers: peers("me")}},
		"is none any more":    {group: group{peers: peers("a", "b")}},
		"nobody leads":        {group: group{list: broken}, want: broken},
		"the others refuse":   {group: group{peers: peers("a", "me"), remove: broken}, want: broken, removes: true},
		"somebody was before": {group: group{peers: peers("a", "me"), remove: broken, raced: true}, removes: true},
	} {
		err := StepDown(t.Context(), &c.group, "me")
		if !errors.Is(err, c.want) || c.removed != c.removes {
			t.Errorf("%s: error %v, asked to remove: %v", name, err, c.removed)
		}
	}
}
