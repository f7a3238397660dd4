package consensus

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/raft"

	"github.com/stackato/stackato/agent/node"
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
		}
	}
}

// startLeading runs the leader's work in the background; the returned
// function ends it and waits.
func (n *Node) startLeading(ctx context.Context) func() {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.lead(ctx, n.raft.CurrentTerm())
	}()
	return func() {
		n.leadTerm.Store(0)
		cancel()
		<-done
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

// HandOver makes another voter the leader; it returns when that is done. It
// is meant for a leader that is about to stop or leave.
func (n *Node) HandOver(ctx context.Context) error {
	if n.raft.State() != raft.Leader {
		return nil
	}
	future := n.raft.LeadershipTransfer()
	done := make(chan error, 1)
	go func() { done <- future.Error() }() // ends with the future
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-done:
		return err
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
