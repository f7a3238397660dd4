package member

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/stackato/stackato/agent/node"
)

// maxGone bounds the dead and left members that are remembered.
const maxGone = 1024

// State is what this member thinks of another one.
type State string

// The states of a member.
const (
	// Alive: it answers somebody.
	Alive State = "alive"
	// Suspect: it did not answer this member's own last probe directly and
	// is not declared dead. Suspicions of other members do not show here.
	Suspect State = "suspect"
	// Dead: the members agreed that nobody reaches it.
	Dead State = "dead"
	// Left: it said that it goes, then went.
	Left State = "left"
)

// Member is one node as this member sees it. It is a copy.
type Member struct {
	ID    node.ID        `json:"id"`
	Addr  netip.AddrPort `json:"addr"` // of its gossip
	Meta  Meta           `json:"meta"`
	State State          `json:"state"`
	// Since is when this member saw State begin, by its own clock.
	Since time.Time `json:"since"`
	// RTT is the last measured UDP round trip from here, 0 if unknown.
	RTT  time.Duration `json:"rtt"`
	Self bool          `json:"self"`
}

// table is this member's view. Its lock is a leaf: nothing is called while it
// is held. memberlist calls the writers while it holds its own lock.
type table struct {
	self    node.ID
	retain  time.Duration
	suspect time.Duration // a suspicion older than this has been refuted
	now     func() time.Time

	mu    sync.Mutex
	rows  map[node.ID]*Member
	alive int // rows that are Alive, a suspicion notwithstanding
	subs  map[chan struct{}]struct{}
}

func newTable(self node.ID, retain, suspect time.Duration) *table {
	return &table{
		self: self, retain: retain, suspect: suspect, now: time.Now,
		rows: map[node.ID]*Member{}, subs: map[chan struct{}]struct{}{},
	}
}

// seen records that a member is alive with this metadata.
func (t *table) seen(meta Meta, addr netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	row, ok := t.rows[meta.ID]
	if !ok {
		row = &Member{ID: meta.ID, Self: meta.ID == t.self}
		t.rows[meta.ID] = row
	}
	wasAlive := ok && (row.State == Alive || row.State == Suspect)
	if !wasAlive {
		t.alive++
	}
	if !wasAlive || row.State == Suspect || !row.Meta.Started.Equal(meta.Started) {
		row.Since = t.now()
	}
	row.State, row.Meta, row.Addr = Alive, meta, addr
	t.notify()
}

// gone records that memberlist gave a member up. leaving is what its newest
// metadata says.
func (t *table) gone(id node.ID, leaving bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	row, ok := t.rows[id]
	if !ok || row.State == Dead || row.State == Left {
		return
	}
	t.alive--
	row.State, row.Since, row.RTT = Dead, t.now(), 0
	if leaving || row.Meta.Leaving {
		row.State, row.Meta.Leaving = Left, true
	}
	t.expire()
	t.notify()
}

// left corrects Dead to Left for the run of a member that began at started:
// others saw it say goodbye.
func (t *table) left(id node.ID, started time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	row, ok := t.rows[id]
	if ok && row.State == Dead && row.Meta.Started.Equal(started) {
		row.State, row.Meta.Leaving = Left, true
		t.notify()
	}
}

// unanswered records that a direct probe failed.
func (t *table) unanswered(id node.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if row, ok := t.rows[id]; ok && row.State == Alive {
		row.State, row.Since = Suspect, t.now()
		t.notify()
	}
}

// answered records a direct probe's round trip.
func (t *table) answered(id node.ID, rtt time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	row, ok := t.rows[id]
	if !ok || row.State == Dead || row.State == Left {
		return
	}
	row.RTT = rtt
	if row.State == Suspect {
		row.State, row.Since = Alive, t.now()
		t.notify()
	}
}

// forget drops a member that is dead or left.
func (t *table) forget(id node.ID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	row, ok := t.rows[id]
	if !ok || row.State == Alive || row.State == Suspect {
		return false
	}
	delete(t.rows, id)
	t.notify()
	return true
}

// expire drops what was gone for longer than retain, and the oldest of too
// many. The caller holds mu.
func (t *table) expire() {
	var gone []*Member
	for id, row := range t.rows {
		if row.State != Dead && row.State != Left {
			continue
		}
		if t.now().Sub(row.Since) > t.retain {
			delete(t.rows, id)
			continue
		}
		gone = append(gone, row)
	}
	if len(gone) <= maxGone {
		return
	}
	slices.SortFunc(gone, func(a, b *Member) int { return a.Since.Compare(b.Since) })
	for _, row := range gone[:len(gone)-maxGone] {
		delete(t.rows, row.ID)
	}
}

// settle ends a suspicion that is so old that it would have become a death,
// had nobody refuted it. The caller holds mu.
func (t *table) settle(row *Member) Member {
	if row.State == Suspect && t.now().Sub(row.Since) > t.suspect {
		row.State, row.Since = Alive, t.now()
	}
	return *row
}

func (t *table) get(id node.ID) (Member, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	row, ok := t.rows[id]
	if !ok {
		return Member{}, false
	}
	return t.settle(row), true
}

func (t *table) list() []Member {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire()
	out := make([]Member, 0, len(t.rows))
	for _, row := range t.rows {
		out = append(out, t.settle(row))
	}
	slices.SortFunc(out, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.Meta.Name, b.Meta.Name), cmp.Compare(a.ID, b.ID))
	})
	return out
}

func (t *table) countAlive() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.alive
}

// notify wakes the subscribers. The caller holds mu.
func (t *table) notify() {
	for ch := range t.subs {
		select {
		case ch <- struct{}{}:
		default: // it has not looked at the last one yet
		}
	}
}

func (t *table) subscribe() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.subs[ch] = struct{}{}
	return ch, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.subs, ch)
	}
}

// Members returns every member that is known, this one included, dead and left
// ones for [Config].Retain, sorted by name. It never blocks on the network.
func (g *Gossip) Members() []Member { return g.table.list() }

// Member returns one member; ok is false when gossip knows no such id.
func (g *Gossip) Member(id node.ID) (m Member, ok bool) { return g.table.get(id) }

// NumAlive returns how many members are alive or suspect, this one included.
func (g *Gossip) NumAlive() int { return g.table.countAlive() }

// Forget drops a dead or left member from the view before its time, as when
// it was taken out of the nodes table. It reports whether there was one. A
// member that is alive stays; forgetting changes nothing on other members.
func (g *Gossip) Forget(id node.ID) bool { return g.table.forget(id) }

// Subscribe returns a channel that holds one token after [Gossip.Members] has
// changed in more than RTT. Changes coalesce; a slow reader misses none and
// blocks nobody. The channel is never closed; call stop when done with it.
func (g *Gossip) Subscribe() (changed <-chan struct{}, stop func()) { return g.table.subscribe() }
