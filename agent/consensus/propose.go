package consensus

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

// Retry intervals of writes and reads that wait for a leader: they double
// from the first to the last, with jitter.
const (
	firstRetry = 10 * time.Millisecond
	lastRetry  = 150 * time.Millisecond
)

// attemptTimeout bounds one try at one leader; a dead one that was reached a
// moment ago must not eat the whole LeaderWait.
const attemptTimeout = 2 * time.Second

// Propose implements [Proposer]: it applies p through the leader, wherever
// that is, and returns when this node shows the result too. It retries while
// there is no leader, at most Config.LeaderWait; p is applied once all the
// same, because retries carry one request id.
func (n *Node) Propose(ctx context.Context, p Proposal) (json.RawMessage, error) {
	if p.ID == "" {
		p.ID = uuid.NewString()
	}
	var result json.RawMessage
	err := n.withLeader(ctx, func(ctx context.Context, id node.ID, addr string) error {
		var index uint64
		var err error
		if id == n.cfg.ID {
			index, result, err = n.ApplyLocal(ctx, p)
		} else {
			var raw []byte
			index, raw, err = n.cfg.Peers.Apply(ctx, id, addr, p)
			result = raw
		}
		if err != nil {
			return err
		}
		return n.fsm.state.WaitApplied(ctx, index)
	})
	return result, err
}

// ApplyLocal applies p if this node leads. It is the receiving end of a
// forwarded write; an unavailable error means that the caller may try again.
func (n *Node) ApplyLocal(ctx context.Context, p Proposal) (uint64, json.RawMessage, error) {
	term := n.leadTerm.Load()
	if term == 0 {
		return 0, nil, errNotLeader
	}
	if err := n.allKnow(p); err != nil {
		return 0, nil, err
	}
	index, out, err := n.apply(ctx, p)
	if err != nil {
		return 0, nil, err
	}
	if out.Err != nil {
		return index, nil, out.Err
	}
	return index, out.Result, nil
}

var errNotLeader = rpcerr.New(rpcerr.Unavailable, "this node is not the Primary")

// apply appends p to the log and waits until it is applied here.
func (n *Node) apply(ctx context.Context, p Proposal) (uint64, outcome, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return 0, outcome{}, err
	}
	future := n.raft.Apply(data, time.Until(deadlineOf(ctx, n.cfg.LeaderWait)))
	done := make(chan error, 1)
	go func() { done <- future.Error() }() // ends with the future: Raft answers each, at shutdown too
	select {
	case <-ctx.Done():
		return 0, outcome{}, ctx.Err()
	case err := <-done:
		if err != nil {
			return 0, outcome{}, raftError(err)
		}
	}
	return future.Index(), future.Response().(outcome), nil
}

// allKnow refuses a command that some member could not apply.
func (n *Node) allKnow(p Proposal) error {
	if _, ok := n.reg.commands[p.Type][p.Version]; !ok {
		return rpcerr.New(rpcerr.UnsupportedVersion, "the Primary does not know command %s v%d", p.Type, p.Version).
			WithHint("upgrade every controller to one version")
	}
	if p.Type == cmdReport.Type || p.Type == cmdTermStarted.Type {
		return nil
	}
	view := n.fsm.state.Read()
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		caps, ok := reported(view, node.ID(s.ID))
		if !ok && node.ID(s.ID) == n.cfg.ID {
			continue // our own first report is on its way
		}
		if caps[p.Type] < p.Version {
			return rpcerr.New(rpcerr.UnsupportedVersion, "controller %s does not know command %s v%d yet", s.ID, p.Type, p.Version).
				WithHint("upgrade that controller; until then this change cannot be made")
		}
	}
	return nil
}

// withLeader calls try with the leader until it succeeds or fails for a
// reason that another try would not change.
func (n *Node) withLeader(ctx context.Context, try func(ctx context.Context, id node.ID, addr string) error) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.LeaderWait)
	defer cancel()
	var last error
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		if id, addr, ok := n.Leader(); ok {
			attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
			err := try(attempt, id, addr)
			cancel()
			if err == nil || !retryable(err) {
				return err
			}
			last = err
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return n.errNoLeader(last)
		case <-n.fsm.stop:
			return rpcerr.New(rpcerr.Unavailable, "%w", n.fsm.stopErr).WithRetryable(false)
		case <-time.After(wait/2 + rand.N(wait/2)):
		}
	}
}

// retryable reports whether another leader, or the same a moment later, could
// do it. A deadline of one attempt counts; the caller's own ends the loop.
func retryable(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, rpcerr.Deadline) || rpcerr.Retryable(err)
}

// raftError turns Raft's errors into ours. All of them are worth a retry with
// the same request id but a shutdown.
func raftError(err error) error {
	if errors.Is(err, raft.ErrRaftShutdown) {
		return rpcerr.New(rpcerr.Unavailable, "this node is stopping").WithRetryable(false)
	}
	return rpcerr.New(rpcerr.Unavailable, "raft: %v", err)
}

func deadlineOf(ctx context.Context, fallback time.Duration) time.Time {
	if d, ok := ctx.Deadline(); ok {
		return d
	}
	return time.Now().Add(fallback)
}
