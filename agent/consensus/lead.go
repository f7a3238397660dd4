package consensus

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

// leadLoop follows this node's leadership until ctx ends.
func (n *Node) leadLoop(ctx context.Context) {
	var stop func()
	defer func() {
		if stop != nil {
			stop()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case leads := <-n.raft.LeaderCh():
			// The channel keeps only the newest value: a loss between two
			// terms may be missing, so each "true" begins anew.
			if stop != nil {
				stop()
				stop = nil
			}
			if leads {
				stop = n.startLeading(ctx)
			}
		case <-n.diskFault:
			// Raft may be held between giving up leadership and telling.
			if stop != nil && n.raft.State() != raft.Leader {
				stop()
				stop = nil
			}
		}
	}
}

// startLeading runs the leader's work in the background; the returned
// function ends it and waits.
func (n *Node) startLeading(ctx context.Context) func() {
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	work.Go(func() { n.lead(ctx, n.raft.CurrentTerm()) })
	work.Go(func() { n.tellCommits(ctx) })
	return func() {
		n.leadTerm.Store(0)
		n.contacts.lost()
		cancel()
		work.Wait()
	}
}

// lead announces the term inside the log and then runs the leader's work.
func (n *Node) lead(ctx context.Context, term uint64) {
	defer n.leadTerm.Store(0)
	if !n.announce(ctx, term) {
		return
	}
	n.leadTerm.Store(term)
	if ctx.Err() != nil { // lost meanwhile: the stop function stored 0 before us
		return
	}
	n.log.Info("this node is the Primary", "term", term)
	if n.cfg.Lead != nil {
		n.cfg.Lead(ctx, term)
	}
	<-ctx.Done()
	n.log.Info("this node is the Primary no more", "term", term)
}

// announce applies term_started, again and again until it is done or
// leadership is lost. It reports whether this node leads in term.
func (n *Node) announce(ctx context.Context, term uint64) bool {
	for {
		data, err := cmdProposal(cmdTermStarted, termStarted{term, n.cfg.ID})
		if err != nil {
			n.log.Error("announce the term", "err", err)
			return false
		}
		_, out, err := n.apply(ctx, data)
		switch {
		case err == nil && out.Err == nil:
			return true
		case ctx.Err() != nil, n.raft.State() != raft.Leader, out.Err != nil:
			return false
		}
		n.log.Warn("announce the term: will try again", "term", term, "err", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(firstRetry + rand.N(lastRetry)):
		}
	}
}

// HandOver makes another voter the leader; it returns when that is done, at
// once if this node does not lead. It fails when no other voter can take over
// within the election timeout. It is meant for a leader that is about to stop
// or leave.
func (n *Node) HandOver(ctx context.Context) error {
	if n.raft.State() != raft.Leader {
		return nil
	}
	servers, _ := n.Servers()
	if !slices.ContainsFunc(servers, func(s Server) bool { return s.Voter && s.ID != n.cfg.ID }) {
		return rpcerr.New(rpcerr.Precondition, "there is no other voter to hand over to")
	}
	if err := n.await(ctx, n.raft.LeadershipTransfer); err != nil && n.raft.State() == raft.Leader {
		return err
	}
	for { // Raft is content when this node does not lead any more
		changed := n.leaders.next()
		if id, _, ok := n.Leader(); ok && id != n.cfg.ID {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-n.ctx.Done():
			return errStopping
		case <-changed:
		}
	}
}

// Snapshot writes a snapshot now; tests and backups use it.
func (n *Node) Snapshot() error { return n.raft.Snapshot().Error() }

// Server is a member of the Raft group.
type Server struct {
	ID      node.ID `json:"id"`
	Address string  `json:"address"`
	Voter   bool    `json:"voter"`
}

// PrimaryTerm is the term of the newest Primary that this node's tables show,
// 0 before the first. Unlike Raft's own term it does not grow while a node
// that is cut off stands for election in vain.
func (n *Node) PrimaryTerm() uint64 { return currentLeadership(n.fsm.state.Read()).Term }
