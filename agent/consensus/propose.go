package consensus

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
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
//
// An error with code Deadline, or ctx's own, means that the outcome is not
// known. Trying again is safe with the same request id only ([WithID]).
func (n *Node) Propose(ctx context.Context, p Proposal) (json.RawMessage, error) {
	if p.ID == "" {
		p.ID = uuid.NewString()
	}
	var result json.RawMessage
	unknown := false // an attempt may have had an effect
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
			unknown = unknown || timedOut(err) || ctx.Err() != nil
			return err
		}
		unknown = true // until it shows here
		return n.fsm.state.WaitApplied(ctx, index)
	})
	if err != nil && unknown && !decided(err) {
		e := rpcerr.From(err)
		// %v: as a cause it would still be Unavailable, which says that nothing was done.
		return nil, rpcerr.New(rpcerr.Deadline, "whether the change was made is not known: %v", err).WithHint("%s", e.ErrHint)
	}
	if err != nil {
		return nil, err
	}
	return result, nil
}

// decided reports whether an error is the state machine's answer to the
// request, which an earlier attempt may have brought there. These codes come
// from before it: nobody leads, a controller that was just demoted may not ask
// any more, or members do not know the command.
func decided(err error) bool {
	for _, c := range []rpcerr.Code{rpcerr.Unavailable, rpcerr.Denied, rpcerr.Unauthenticated, rpcerr.UnsupportedVersion} {
		if errors.Is(err, c) {
			return false
		}
	}
	return true
}

// ApplyLocal applies p if this node leads. It is the receiving end of a
// forwarded write; an unavailable error means that the caller may try again.
func (n *Node) ApplyLocal(ctx context.Context, p Proposal) (uint64, json.RawMessage, error) {
	term := n.leadTerm.Load()
	if term == 0 {
		return 0, nil, errNotLeader
	}
	if err := n.check(p); err != nil {
		return 0, nil, err
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

var (
	errNotLeader   = rpcerr.New(rpcerr.Unavailable, "this node is not the Primary")
	errLeaderMoves = rpcerr.New(rpcerr.Unavailable, "another Primary is being chosen")
	errNoLeaderNow = rpcerr.New(rpcerr.Unavailable, "there is no Primary at the moment")
	errStopping    = rpcerr.New(rpcerr.Unavailable, "this node is stopping").WithRetryable(false)
)

// Bounds of a proposal, in bytes. A log entry travels whole and others wait
// behind it.
const (
	maxProposalID   = 128
	maxProposalData = 1 << 20
)

// check refuses what must not get into the log: there, an input that does
// not decode stops every member.
func (n *Node) check(p Proposal) error {
	decode, ok := n.reg.commands[p.Type][p.Version]
	switch {
	case !ok:
		return rpcerr.New(rpcerr.UnsupportedVersion, "the Primary does not know command %.100q v%d", p.Type, p.Version).
			WithHint("upgrade every controller to one version")
	case len(p.ID) > maxProposalID:
		return rpcerr.New(rpcerr.Invalid, "the request id has %d bytes, at most %d are allowed", len(p.ID), maxProposalID)
	case len(p.Data) > maxProposalData:
		return rpcerr.New(rpcerr.Invalid, "the input of %s has %d bytes, at most %d are allowed", p.Type, len(p.Data), maxProposalData)
	}
	if _, err := decode(p.Data); err != nil {
		return rpcerr.New(rpcerr.Invalid, "%w", err)
	}
	return nil
}

// apply appends p to the log and waits until it is applied here.
func (n *Node) apply(ctx context.Context, p Proposal) (uint64, outcome, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return 0, outcome{}, err
	}
	enqueue := max(time.Millisecond, time.Until(deadlineOf(ctx, n.cfg.LeaderWait))) // 0 would be no limit
	var future raft.ApplyFuture
	if err := n.await(ctx, func() raft.Future {
		future = n.raft.Apply(data, enqueue)
		return future
	}); err != nil {
		if errors.Is(err, error(errStopping)) { // the others may commit what this node has sent
			err = rpcerr.New(rpcerr.Deadline, "whether the change was made is not known: %v", err)
		}
		return 0, outcome{}, err
	}
	return future.Index(), future.Response().(outcome), nil
}

// allKnow refuses a command that some member could not apply.
func (n *Node) allKnow(p Proposal) error {
	if (p.Type == cmdReport.Type || p.Type == cmdTermStarted.Type) && p.Version == 1 {
		return nil // every build knows them
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
// reason that another try would not change. It fails with the caller's own
// error when that one's context ends first.
func (n *Node) withLeader(caller context.Context, try func(ctx context.Context, id node.ID, addr string) error) error {
	ctx, cancel := context.WithTimeout(caller, n.cfg.LeaderWait)
	defer cancel()
	var last error
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		changed := n.leaders.next()
		if id, addr, ok := n.Leader(); ok {
			again, err := n.attempt(ctx, changed, func(ctx context.Context) error { return try(ctx, id, addr) })
			if !again {
				return err
			}
			last = err
		}
		select {
		case <-ctx.Done():
			if caller.Err() != nil {
				return caller.Err()
			}
			return n.errNoLeader(last)
		case <-n.fsm.stop:
			return rpcerr.New(rpcerr.Unavailable, "%w", n.fsm.stopErr).WithRetryable(false)
		case <-n.ctx.Done():
			return errStopping
		case <-changed:
		case <-time.After(wait/2 + rand.N(wait/2)):
		}
	}
}

// attempt makes one try at one leader. It ends early when another leader is
// known: the one that was asked may never answer. again says that it failed
// for a reason that another try may change.
func (n *Node) attempt(ctx context.Context, changed <-chan struct{}, try func(context.Context) error) (again bool, err error) {
	one, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	one, stop := whileLeads(one, changed)
	defer stop()
	err = try(one)
	return err != nil && (one.Err() != nil && ctx.Err() == nil || retryable(err)), err
}

// retryable reports whether another leader, or the same a moment later, could
// do it. A deadline of one attempt counts; the caller's own ends the loop.
func retryable(err error) bool { return timedOut(err) || rpcerr.Retryable(err) }

// timedOut reports whether the outcome of an attempt is unknown.
func timedOut(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, rpcerr.Deadline)
}

// raftError turns Raft's errors into ours. All of them are worth a retry with
// the same request id but a shutdown and a stale membership index.
func raftError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrRaftShutdown):
		return errStopping
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return rpcerr.New(rpcerr.Unavailable, "raft: %w", err)
	case strings.HasPrefix(err.Error(), "configuration changed since"): // raft has no value for it
		return rpcerr.New(rpcerr.Conflict, "the group's members have changed meanwhile: %w", err)
	}
	// Leadership lost, the disk failed: the entry may still be committed.
	return rpcerr.New(rpcerr.Deadline, "raft: %w", err).WithRetryable(true)
}

func deadlineOf(ctx context.Context, fallback time.Duration) time.Time {
	if d, ok := ctx.Deadline(); ok {
		return d
	}
	return time.Now().Add(fallback)
}
