package agent

import (
	"errors"
	"sync"

	"github.com/stackato/stackato/agent/member"
)

// told is what this node has told gossip of itself. It is safe for concurrent
// use.
//
// memberlist v0.6.0 can lose a change that is followed by another one, of any
// node, within the same 200 ms: its queue begins to count its entries anew
// when the first is replaced, and two that then have one number, one length
// and were sent equally often are taken for the same. The full exchange would
// mend it half a minute later. So nothing is told twice without need, and a
// change is told again in the seconds after.
type told struct {
	mu     sync.Mutex
	meta   member.Meta
	repeat int // how often the last change is still to be told
}

const tellAgain = 2

// due reports whether meta is to be told now: if it is new, or again.
func (t *told) due(meta member.Meta, again bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case meta != t.meta:
		t.meta, t.repeat = meta, tellAgain
		return true
	case again && t.repeat > 0:
		t.repeat--
		return true
	}
	return false
}

// tellGossip tells what this node is, if that has changed; with again also if
// it has changed a little while ago.
func (r *runtime) tellGossip(again bool) {
	if !r.told.due(r.gossipMeta(), again) {
		return
	}
	if err := r.gossip.UpdateMeta(); err != nil && !errors.Is(err, member.ErrNotRunning) {
		r.log.Warn("gossip metadata", "err", err)
	}
}
