package agent

import (
	"errors"
	"slices"
	"testing"
)

func TestLeavePeers(t *testing.T) {
	t.Parallel()
	broken := errors.New("no leader")
	for name, c := range map[string]struct {
		peers   []string
		list    error // of asking for the peers
		remove  error
		raced   bool // the Primary removes it first
		want    error
		removes bool
	}{
		"one of three":          {peers: []string{"a", "b", "me"}, removes: true},
		"the last one stays":    {peers: []string{"me"}},
		"is none any more":      {peers: []string{"a", "b"}},
		"nobody leads":          {list: broken, want: broken},
		"the others refuse":     {peers: []string{"a", "me"}, remove: broken, want: broken, removes: true},
		"the Primary was first": {peers: []string{"a", "me"}, remove: broken, raced: true, removes: true},
	} {
		peers, removed := slices.Clone(c.peers), false
		err := leavePeers("me", func() ([]string, error) { return peers, c.list }, func() error {
			removed = true
			if c.remove == nil || c.raced {
				peers = slices.DeleteFunc(peers, func(id string) bool { return id == "me" })
			}
			return c.remove
		})
		if !errors.Is(err, c.want) || removed != c.removes {
			t.Errorf("%s: error %v, asked to remove: %v", name, err, removed)
		}
	}
}
