package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

// Intervals of the Primary's loop.
const (
	planInterval  = 200 * time.Millisecond
	sweepInterval = 10 * time.Minute
	// tokenRest is how long a dead token is still shown before it is swept.
	tokenRest = 24 * time.Hour
	// nearlyApplied is how many entries a non-voter may lack to count as
	// caught up.
	nearlyApplied = 100
)

// Servers tells how the Consul and Nomad servers fare; the Primary takes a
// server away only when those that stay have their votes.
type Servers interface {
	// Voting reports whether all the given nodes are voters of Consul and of
	// Nomad.
	Voting(ctx context.Context, nodes []node.Node) bool
}

// Primary is the cluster's leader-only work: Raft voters follow the
// controllers, Consul and Nomad servers follow the voters, dead tokens are
// swept.
type Primary struct {
	Controller *Controller
	Servers    Servers
	// Applied asks a node how far it has applied the log.
	Applied func(ctx context.Context, n node.Node) (uint64, error)
	Logger  *slog.Logger
}

// Run works until ctx, which ends with leadership, is done. Everything that
// it writes is fenced by term.
func (p *Primary) Run(ctx context.Context, term uint64) {
	began := p.Controller.cfg.Now()
	tick := time.NewTicker(planInterval)
	defer tick.Stop()
	var swept time.Time
	last := ""
	for {
		err := p.step(ctx, term, began)
		if text := fmt.Sprint(err); err == nil {
			last = ""
		} else if text != last && ctx.Err() == nil { // five times a second would be too often
			p.Logger.Warn("keep the voters in line; will go on trying", "err", err)
			last = text
		}
		if now := p.Controller.cfg.Now(); now.Sub(swept) > sweepInterval {
			swept = now
			if err := p.sweep(ctx, term, now); err != nil && ctx.Err() == nil {
				p.Logger.Warn("sweep join tokens", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// step makes at most one change of the Raft configuration, and writes down
// who votes.
func (p *Primary) step(ctx context.Context, term uint64, began time.Time) error {
	v := p.Controller.cons.State().Read()
	if _, ok := TheRecord(v); !ok {
		return nil // not founded yet
	}
	// The one does not wait for the other: a change that fails again and
	// again must not keep the servers of Consul and Nomad from following.
	return errors.Join(p.changeGroup(ctx, v, began), p.writeVoters(ctx, term, v))
}

func (p *Primary) changeGroup(ctx context.Context, v *consensus.View, began time.Time) error {
	servers, index := p.Controller.cons.Servers()
	cands := p.candidates(v, servers, began)
	grace := time.Duration(intSetting(v, voterGrace)) * time.Second
	for {
		a, ok := p.plan(ctx, servers, cands, grace)
		if !ok {
			return nil
		}
		err := p.change(ctx, a, index)
		if a.kind == "add" && errors.Is(err, rpcerr.Precondition) {
			i := slices.IndexFunc(cands, func(c candidate) bool { return c.ID == a.id })
			cands[i].unreported = true // what else is to be done?
			continue
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", a.kind, a.id, err)
		}
		p.Logger.Info("changed the Raft group", "what", a.kind, "node", a.id, "address", a.addr)
		return nil
	}
}

// plan asks non-voters how far they are only when that could change anything.
func (p *Primary) plan(ctx context.Context, servers []consensus.Server, cands []candidate, grace time.Duration) (voterAction, bool) {
	self := p.Controller.cfg.Self
	if _, ok := planVoters(self, servers, optimistic(cands), grace); !ok {
		return voterAction{}, false
	}
	var asked sync.WaitGroup
	for i := range cands {
		c := &cands[i]
		if c.inRaft && !c.voter && c.alive && c.stays() {
			asked.Go(func() {
				applied, err := p.Applied(ctx, c.Node)
				c.caughtUp = err == nil && applied+nearlyApplied >= p.Controller.cons.State().Applied()
			})
		}
	}
	asked.Wait()
	return planVoters(self, servers, cands, grace)
}

func (p *Primary) change(ctx context.Context, a voterAction, index uint64) error {
	cons := p.Controller.cons
	switch a.kind {
	case "add":
		return cons.AddNonvoter(a.id, a.addr, index)
	case "promote":
		return cons.AddVoter(a.id, a.addr, index)
	case "demote":
		return cons.Demote(a.id, index)
	case "remove":
		return cons.Remove(ctx, a.id, index)
	}
	return cons.HandOver(ctx)
}

func (p *Primary) candidates(v *consensus.View, servers []consensus.Server, began time.Time) []candidate {
	now := p.Controller.cfg.Now()
	var out []candidate
	for _, m := range Members(v) {
		c := candidate{Node: m.Node, former: !m.Roles.Has(node.Controller)}
		if i := slices.IndexFunc(servers, func(s consensus.Server) bool { return s.ID == m.ID }); i >= 0 {
			c.inRaft, c.voter = true, servers[i].Voter
		} else if c.former {
			continue
		}
		alive, since := p.Controller.cfg.Hints.Alive(m.ID)
		c.alive = alive || m.ID == p.Controller.cfg.Self
		if !c.alive { // a new Primary counts from its own beginning
			c.deadFor = now.Sub(later(since, began))
		}
		out = append(out, c)
	}
	return out
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// writeVoters writes down who runs the Consul and Nomad servers: the Raft
// voters, and for a while those that were, until the new ones have their
// votes there.
func (p *Primary) writeVoters(ctx context.Context, term uint64, v *consensus.View) error {
	rec, _ := TheRecord(v)
	servers, _ := p.Controller.cons.Servers()
	var want []node.ID
	for _, s := range servers {
		if s.Voter {
			want = append(want, s.ID)
		}
	}
	var former []node.ID
	for _, id := range rec.Voters {
		_, belongs := consensus.Get[Member](v, nodesTable, "id", string(id))
		alive, _ := p.Controller.cfg.Hints.Alive(id)
		if !slices.Contains(want, id) && belongs && (alive || id == p.Controller.cfg.Self) {
			former = append(former, id)
		}
	}
	next := slices.Clone(want)
	// The group may still be growing: who is to take a former voter's place
	// has to have its votes too.
	if len(former) > 0 && (len(want) < p.expected(v) || !p.Servers.Voting(ctx, membersOf(v, want))) {
		next = append(next, former...)
	}
	slices.Sort(next)
	if slices.Equal(next, rec.Voters) {
		return nil
	}
	_, err := cmdVoters.Propose(ctx, p.Controller.cons, votersInput{next}, consensus.AsTerm(term))
	return err
}

// expected is how many voters the controllers that are up and stay make.
func (p *Primary) expected(v *consensus.View) int {
	n := 0
	for _, m := range Members(v) {
		alive, _ := p.Controller.cfg.Hints.Alive(m.ID)
		if m.Roles.Has(node.Controller) && !m.Leaving && (alive || m.ID == p.Controller.cfg.Self) {
			n++
		}
	}
	return targetVoters(n)
}

func membersOf(v *consensus.View, ids []node.ID) []node.Node {
	var out []node.Node
	for _, id := range ids {
		if m, ok := consensus.Get[Member](v, nodesTable, "id", string(id)); ok {
			out = append(out, m.Node)
		}
	}
	return out
}

// sweep forgets tokens that have been dead for a day.
func (p *Primary) sweep(ctx context.Context, term uint64, now time.Time) error {
	before := now.Add(-tokenRest)
	dead := func(t Token) bool { return t.deadBefore(before) }
	if !slices.ContainsFunc(Tokens(p.Controller.cons.State().Read()), dead) {
		return nil
	}
	_, err := cmdTokenSweep.Propose(ctx, p.Controller.cons, tokenSweep{Before: before}, consensus.AsTerm(term))
	return err
}
