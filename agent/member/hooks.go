package member

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/stackato/stackato/agent/node"
)

// hooks is what memberlist calls. It calls from several goroutines and often
// holds its own lock: nothing here may block or call memberlist.
type hooks struct{ g *Gossip }

// check decides whether a peer may be known at all.
func (h hooks) check(peer *memberlist.Node) (Meta, error) {
	var m Meta
	if err := m.UnmarshalBinary(peer.Meta); err != nil {
		return m, fmt.Errorf("member %.40q: %w", peer.Name, err)
	}
	if m.ClusterID != h.g.cfg.ClusterID {
		return m, fmt.Errorf("member %s (%.63q at %s) belongs to cluster %s, this is cluster %s: "+
			"its data directory or its seeds are those of the other cluster", m.ID, m.Name, peer.Address(), m.ClusterID, h.g.cfg.ClusterID)
	}
	if string(m.ID) != peer.Name {
		return m, fmt.Errorf("member %.40q says that its id is %s", peer.Name, m.ID)
	}
	return m, nil
}

// NotifyAlive refuses members that are not ours, whichever way they come.
func (h hooks) NotifyAlive(peer *memberlist.Node) error {
	if _, err := h.check(peer); err != nil {
		h.g.stats.refused.Add(1)
		return err
	}
	return nil
}

// NotifyMerge refuses a join as a whole when one of the peer's members is not
// ours, so that the joining side gets an error that says why.
func (h hooks) NotifyMerge(peers []*memberlist.Node) error {
	for _, p := range peers {
		if _, err := h.check(p); err != nil {
			h.g.stats.refused.Add(1)
			return fmt.Errorf("refused: %w", err)
		}
	}
	return nil
}

// NotifyConflict reports a second machine with an id that is taken. memberlist
// keeps the first one.
func (h hooks) NotifyConflict(existing, other *memberlist.Node) {
	h.g.stats.conflicts.Add(1)
	h.g.conflictLog.Do(func() {
		h.g.log.Warn("two machines claim one node id; the second is not let in",
			"id", existing.Name, "first", existing.Address(), "second", other.Address(),
			"hint", "one is a copy of the other: stop the copy, empty its data directory and join it anew; "+
				"if the node's address has changed, it is let in once the old one is known dead")
	})
}

// NotifyJoin, NotifyUpdate and NotifyLeave keep the table.
func (h hooks) NotifyJoin(n *memberlist.Node) { h.seen(n) }

// NotifyUpdate is called when a member's metadata has changed.
func (h hooks) NotifyUpdate(n *memberlist.Node) { h.seen(n) }

func (h hooks) seen(n *memberlist.Node) {
	m, err := h.check(n)
	if err != nil {
		return // NotifyAlive has refused it
	}
	ip, _ := netip.AddrFromSlice(n.Addr)
	h.g.table.seen(m, netip.AddrPortFrom(ip.Unmap(), n.Port))
}

// NotifyLeave is called for the dead and for those that left.
func (h hooks) NotifyLeave(n *memberlist.Node) {
	m, err := h.check(n)
	h.g.table.gone(node.ID(n.Name), err == nil && m.Leaving)
}

// NodeMeta returns what this member says of itself.
func (h hooks) NodeMeta(limit int) []byte {
	h.g.metaMu.Lock()
	defer h.g.metaMu.Unlock()
	if len(h.g.encoded) > limit { // memberlist would panic; its limit is MaxMetaSize
		return nil
	}
	return bytes.Clone(h.g.encoded)
}

// LocalState and MergeRemoteState carry the list of members that left.
func (h hooks) LocalState(bool) []byte { return h.g.table.encodeLeft() }

// MergeRemoteState reads the other side's list.
func (h hooks) MergeRemoteState(buf []byte, _ bool) { h.g.table.mergeLeft(buf) }

// NotifyMsg and GetBroadcasts: this package sends no messages of its own.
func (h hooks) NotifyMsg([]byte) {}

// GetBroadcasts has nothing to add.
func (h hooks) GetBroadcasts(int, int) [][]byte { return nil }

// AckPayload adds nothing to answers of probes.
func (h hooks) AckPayload() []byte { return nil }

// NotifyPingComplete is called when a direct probe was answered.
func (h hooks) NotifyPingComplete(n *memberlist.Node, rtt time.Duration, _ []byte) {
	h.g.table.answered(node.ID(n.Name), rtt)
}

// probeUnanswered is asked, when a direct probe was not answered, whether to
// leave out the attempt over TCP. It is the only sign of a suspicion that
// memberlist gives.
func (h hooks) probeUnanswered(name string) bool {
	h.g.stats.unanswered.Add(1)
	h.g.table.unanswered(node.ID(name))
	return false
}

// longestSuspicion is how long memberlist can take, in a cluster of 1,000, to
// turn a suspicion into a death.
func longestSuspicion(c *memberlist.Config) time.Duration {
	scale := math.Log10(1000)
	base := time.Duration(float64(c.SuspicionMult) * scale * float64(c.ProbeInterval))
	return time.Duration(c.SuspicionMaxTimeoutMult) * base
}
