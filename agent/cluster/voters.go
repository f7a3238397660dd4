package cluster

import (
	"cmp"
	"slices"
	"time"

	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/node"
)

// candidate is a controller, or a node of the Raft group that has lost the
// role, as the voter plan sees it.
type candidate struct {
	node.Node
	former        bool // has lost the role
	inRaft, voter bool
	alive         bool
	// deadFor is how long it has been out of sight, 0 if alive.
	deadFor time.Duration
	// caughtUp is set on a non-voter that has applied nearly everything.
	caughtUp bool
	// unreported is set when the group does not know yet which commands the
	// node's build has: it cannot be added, and must not hold up the rest.
	unreported bool
}

// stays reports whether it is a controller that is not on its way out.
func (c candidate) stays() bool { return !c.former && !c.Leaving }

// voterAction is one change of the Raft configuration.
type voterAction struct {
	kind string // add, promote, demote, remove, hand over
	id   node.ID
	addr string
}

// targetVoters is how many voters n controllers make: never an even quorum.
func targetVoters(n int) int {
	switch {
	case n >= 5:
		return 5
	case n >= 3:
		return 3
	}
	return min(n, 1)
}

// planVoters returns the next change that brings the Raft group in line with
// the controllers, or false if nothing is to be done (now). It is made to be
// called again after each change. The rules, most urgent first:
//
//  1. who is no controller (any more) loses its vote, then its place;
//  2. a controller that is not in the group is added without a vote, as soon
//     as it has reported what its build knows;
//  3. a voter out of sight for longer than grace loses its vote if a live
//     non-voter can take it, or if there are more voters than wanted;
//  4. surplus voters lose their vote, dead ones and then the youngest first,
//     never the leader;
//  5. live controllers that have caught up get a vote, the oldest first, until
//     there are as many as can be had (see voterPlan.goal);
//  6. a leader that is no controller (any more) hands over.
//
// A demotion is never planned that would leave less than a majority of live
// voters.
func planVoters(self node.ID, servers []consensus.Server, cands []candidate, grace time.Duration) (voterAction, bool) {
	cands = slices.Clone(cands)
	slices.SortFunc(cands, func(a, b candidate) int {
		return cmp.Or(a.JoinedAt.Compare(b.JoinedAt), cmp.Compare(a.ID, b.ID))
	})
	p := voterPlan{self: self, servers: servers, cands: cands, grace: grace}
	for _, rule := range []func() (voterAction, bool){p.strangers, p.newcomers, p.replaceDead, p.surplus, p.promote, p.handOver} {
		if a, ok := rule(); ok {
			return a, true
		}
	}
	return voterAction{}, false
}

type voterPlan struct {
	self    node.ID
	servers []consensus.Server
	cands   []candidate
	grace   time.Duration
}

// staying are the controllers that are not on their way out.
func (p *voterPlan) staying() []candidate {
	return slices.DeleteFunc(slices.Clone(p.cands), func(c candidate) bool { return !c.stays() })
}

func (p *voterPlan) find(id node.ID) (candidate, bool) {
	i := slices.IndexFunc(p.cands, func(c candidate) bool { return c.ID == id })
	if i < 0 {
		return candidate{}, false
	}
	return p.cands[i], true
}

func (p *voterPlan) voters() []consensus.Server {
	return slices.DeleteFunc(slices.Clone(p.servers), func(s consensus.Server) bool { return !s.Voter })
}

func (p *voterPlan) aliveID(id node.ID) bool {
	c, ok := p.find(id)
	return id == p.self || ok && c.alive
}

// keepsMajority reports whether the group without id's vote still has a
// majority of live voters, and at least one.
func (p *voterPlan) keepsMajority(id node.ID) bool {
	total, live := 0, 0
	for _, s := range p.voters() {
		if s.ID == id {
			continue
		}
		total++
		if p.aliveID(s.ID) {
			live++
		}
	}
	return total > 0 && live > total/2
}

func (p *voterPlan) strangers() (voterAction, bool) {
	for _, s := range p.servers {
		c, known := p.find(s.ID)
		if known && c.stays() || s.ID == p.self {
			continue
		}
		if s.Voter && p.keepsMajority(s.ID) {
			return voterAction{"demote", s.ID, s.Address}, true
		}
		if !s.Voter {
			return voterAction{"remove", s.ID, s.Address}, true
		}
	}
	return voterAction{}, false
}

func (p *voterPlan) newcomers() (voterAction, bool) {
	for _, c := range p.staying() {
		if !c.inRaft && !c.unreported {
			return voterAction{"add", c.ID, c.RPCAddr()}, true
		}
	}
	return voterAction{}, false
}

func (p *voterPlan) spare() (candidate, bool) {
	for _, c := range p.staying() {
		if c.inRaft && !c.voter && c.alive && c.caughtUp {
			return c, true
		}
	}
	return candidate{}, false
}

func (p *voterPlan) replaceDead() (voterAction, bool) {
	if _, ok := p.spare(); !ok {
		return voterAction{}, false
	}
	for _, c := range p.cands {
		if c.voter && c.ID != p.self && !c.alive && c.deadFor > p.grace && p.keepsMajority(c.ID) {
			return voterAction{"demote", c.ID, c.RPCAddr()}, true
		}
	}
	return voterAction{}, false
}

// stayingVoters are the voters that are not on their way out.
func (p *voterPlan) stayingVoters() int {
	n := 0
	for _, c := range p.staying() {
		if c.voter {
			n++
		}
	}
	return n
}

// goal is how many staying voters there should be now: the most that are odd,
// wanted, and within reach of the live controllers. An even group is easier to
// stop than the odd one below it.
func (p *voterPlan) goal() int {
	n := min(targetVoters(len(p.staying())), p.stayingVoters()+p.spares())
	if n%2 == 0 {
		n--
	}
	return max(n, 0)
}

func (p *voterPlan) surplus() (voterAction, bool) {
	if p.stayingVoters() <= p.goal() {
		return voterAction{}, false
	}
	order := p.staying()
	slices.Reverse(order) // the youngest first, but a dead one before all
	slices.SortStableFunc(order, func(a, b candidate) int { return cmp.Compare(b2i(a.alive), b2i(b.alive)) })
	for _, c := range order {
		if c.voter && c.ID != p.self && p.keepsMajority(c.ID) {
			return voterAction{"demote", c.ID, c.RPCAddr()}, true
		}
	}
	return voterAction{}, false
}

func (p *voterPlan) promote() (voterAction, bool) {
	if p.stayingVoters() >= p.goal() {
		return voterAction{}, false
	}
	c, ok := p.spare()
	if !ok {
		return voterAction{}, false
	}
	return voterAction{"promote", c.ID, c.RPCAddr()}, true
}

func (p *voterPlan) handOver() (voterAction, bool) {
	if c, ok := p.find(p.self); ok && c.stays() {
		return voterAction{}, false
	}
	for _, c := range p.staying() {
		if c.voter && c.alive {
			return voterAction{"hand over", c.ID, c.RPCAddr()}, true
		}
	}
	return voterAction{}, false
}

func (p *voterPlan) spares() int {
	n := 0
	for _, c := range p.staying() {
		if c.inRaft && !c.voter && c.alive && c.caughtUp {
			n++
		}
	}
	return n
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// optimistic returns the candidates as if every live non-voter had caught up.
// A plan that finds nothing to do with them finds nothing without.
func optimistic(cands []candidate) []candidate {
	out := slices.Clone(cands)
	for i := range out {
		out[i].caughtUp = out[i].alive
	}
	return out
}
