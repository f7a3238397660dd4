package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/internal/buildinfo"
	"github.com/stackato/stackato/wire/rpcerr"
)

// Intervals of following the cluster.
const (
	assignmentWait = 20 * time.Second       // one wait for news
	followPause    = 200 * time.Millisecond // after a failure, doubled up to …
	followPauseMax = 5 * time.Second
	checkEvery     = time.Second // of certificates and duties that end

	// How long a leaving controller waits for the others to take over;
	// Consul's and Nomad's servers need about 20 s.
	handOverWait       = 2 * time.Minute
	forcedHandOverWait = 30 * time.Second
)

// removedAfter is how long every controller that answers must have refused this
// node before it takes itself for removed. Tests set it before they begin.
var removedAfter = 15 * time.Second

// follow takes over each new assignment until ctx ends.
func (r *runtime) follow(ctx context.Context) error {
	r.takeOver(ctx, r.dir.get())
	pause := followPause
	refusedSince := time.Time{}
	for ctx.Err() == nil {
		err := r.followOnce(ctx)
		if err == nil {
			pause, refusedSince = followPause, time.Time{}
			continue
		}
		refusedSince = r.noteRefusal(ctx, err, refusedSince)
		r.log.Debug("no assignment", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, followPauseMax)
	}
	return nil
}

// followOnce waits for one assignment and takes it over.
func (r *runtime) followOnce(ctx context.Context) error {
	a, err := r.nextAssignment(ctx, assignmentWait)
	if err != nil {
		return err
	}
	if r.isRemoved() != nil {
		r.log.Info("the cluster knows this node again")
		r.setRemoved(nil)
		r.kids.resume()
	}
	r.takeOver(ctx, a)
	return nil
}

// nextAssignment waits for the next assignment: from this node's own tables
// where it has them, else from a controller.
func (r *runtime) nextAssignment(ctx context.Context, wait time.Duration) (cluster.Assignment, error) {
	have := r.dir.get()
	if r.role != nil && r.role.inGroup() {
		r.waitReplayed(ctx, have.Index)
		a, err := r.role.ctl.WatchAssignment(ctx, r.id.ID, have.Digest(), wait)
		if err == nil && a.Index >= have.Index {
			return a, nil
		}
	}
	call, cancel := context.WithTimeout(ctx, wait+5*time.Second)
	defer cancel()
	a, err := ask(call, r, cluster.MethodAssignment, &cluster.AssignmentRequest{Have: have.Digest(), Wait: wait})
	if err != nil {
		return cluster.Assignment{}, err
	}
	if a.Index < have.Index {
		return cluster.Assignment{}, rpcerr.New(rpcerr.Unavailable, "the controller is behind (index %d, have %d)", a.Index, have.Index)
	}
	return *a, nil
}

// replayWait bounds how long a controller that starts waits for its own
// tables before it asks another.
const replayWait = 3 * time.Second

// waitReplayed waits until this controller's tables show what it knew when it
// was last up: while the log is replayed they show the past.
func (r *runtime) waitReplayed(ctx context.Context, index uint64) {
	ctx, cancel := context.WithTimeout(ctx, replayWait)
	defer cancel()
	// Without a Primary nothing is replayed; then another is asked.
	_ = r.role.cons.State().WaitApplied(ctx, index)
}

// noteRefusal watches for the signs of having been removed: every answer is
// a refusal, for a while. The node then stops what it runs, because the
// cluster may already run it elsewhere; its files stay.
func (r *runtime) noteRefusal(ctx context.Context, err error, since time.Time) time.Time {
	if ctx.Err() != nil || !errors.Is(err, rpcerr.Denied) && !errors.Is(err, rpcerr.NotFound) && !errors.Is(err, rpcerr.Unauthenticated) {
		return time.Time{}
	}
	if since.IsZero() {
		return time.Now()
	}
	if time.Since(since) > removedAfter && r.isRemoved() == nil {
		r.log.Error("the cluster does not know this node any more; stopping Consul and Nomad",
			"err", err, "hint", "to join again: stackato-agent reset, then stackato-agent join")
		r.setRemoved(err)
		r.kids.halt(ctx)
	}
	return since
}

func (r *runtime) setRemoved(err error) {
	r.removedMu.Lock()
	defer r.removedMu.Unlock()
	r.removed = err
}

func (r *runtime) isRemoved() error {
	r.removedMu.Lock()
	defer r.removedMu.Unlock()
	return r.removed
}

// takeOver makes the node what the assignment says.
func (r *runtime) takeOver(ctx context.Context, a cluster.Assignment) {
	was := r.dir.get()
	if a.Digest() != was.Digest() || a.Index > was.Index {
		if err := r.store.saveAssignment(a); err != nil {
			r.log.Error("save the assignment; will try again", "err", err)
		}
		r.dir.set(a)
	}
	for _, id := range removedControllers(was, a) {
		if n := r.server.CloseConnsOf(id); n > 0 {
			r.log.Info("closed connections of a node that left", "id", id, "connections", n)
		}
		r.gossip.Forget(id)
	}
	if !bytes.Equal(was.Authorities, a.Authorities) {
		if err := r.creds.trust(a.Authorities); err != nil {
			r.log.Error("trust the new authorities", "err", err)
		}
	}
	if err := r.gossipKeys(a.GossipKeys); err != nil {
		r.log.Error("take over the gossip keys", "err", err)
	}
	if err := r.fetchRing(ctx, a); err != nil {
		r.log.Error("get newer sealing keys from another controller; will try again", "err", err)
	}
	r.tellGossip(false)
	if a.Self.Roles.Has(node.Controller) && r.role == nil {
		r.becomeController(ctx)
		return
	}
	r.renewIfDue(ctx)
	r.kids.assign(a)
	r.cat.Set(r.services(a))
	r.taken.set(a)
}

// gossipKeys brings the key ring in line: first read all, then send with the
// first, then forget the rest.
func (r *runtime) gossipKeys(keys [][]byte) error {
	if len(keys) == 0 {
		return errors.New("the assignment has none")
	}
	for _, k := range keys {
		if err := r.gossip.InstallKey(k); err != nil {
			return err
		}
	}
	if err := r.gossip.UseKey(keys[0]); err != nil {
		return err
	}
	for _, have := range r.gossip.Keys() {
		keep := false
		for _, k := range keys {
			keep = keep || bytes.Equal(k, have)
		}
		if !keep {
			if err := r.gossip.RemoveKey(have); err != nil {
				return err
			}
		}
	}
	return nil
}

// fetchRing gets sealing keys that this controller lacks, as after a rotation
// while it was down. Another controller has to be asked: its own ring is what
// this one can do without.
func (r *runtime) fetchRing(ctx context.Context, a cluster.Assignment) error {
	if r.role == nil || a.Controller == nil || r.role.ctl.HasRingKeys(a.Controller.RingKeys) {
		return nil
	}
	resp, err := askOthers(ctx, r, cluster.MethodRing, &rpc.Empty{})
	if err != nil {
		return err
	}
	return r.role.ctl.MergeRing(cluster.Caller{Controller: true}, resp.Data)
}

// checks looks after what changes by time alone.
func (r *runtime) checks(ctx context.Context) error {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		r.renewIfDue(ctx)
		r.tellGossip(true)
		if err := r.fetchRing(ctx, r.dir.get()); err != nil { // told when it was first missed
			r.log.Debug("get newer sealing keys", "err", err)
		}
		if r.role == nil && r.dir.get().Self.Roles.Has(node.Controller) {
			r.becomeController(ctx)
		}
		r.endController(ctx)
	}
}

// endController ends Raft on a node that lost the role, once the others do
// without it.
func (r *runtime) endController(ctx context.Context) {
	a := r.dir.get()
	if r.role == nil || a.Self.Roles.Has(node.Controller) || a.Self.Leaving {
		return
	}
	t, err := r.topologyFromOthers(ctx)
	if err != nil || !t.Settled(r.id.ID) {
		return
	}
	r.log.Info("this node is a controller no more")
	r.over(r.dropController)
}

// topologyFromOthers asks the other controllers: a member that was removed
// from Raft does not hear of it by Raft.
func (r *runtime) topologyFromOthers(ctx context.Context) (*cluster.Topology, error) {
	err := error(rpcerr.New(rpcerr.Unavailable, "no other controller answers"))
	for _, n := range r.dir.get().Controllers() {
		if n.ID == r.id.ID {
			continue
		}
		var t *cluster.Topology
		if t, err = rpc.Call(ctx, r.client, rpc.Target{ID: n.ID, Addr: n.RPCAddr()}, cluster.MethodTopology, &cluster.TopologyRequest{}); err == nil {
			return t, nil
		}
	}
	return nil, err
}

// announce tells the cluster this node's version and, on controllers, which
// commands it knows, until it has been heard.
func (r *runtime) announce(ctx context.Context) error {
	version := buildinfo.Version
	u := &cluster.NodeUpdate{Node: r.id.ID, Version: &version}
	if r.role != nil {
		u.Capabilities = r.role.reg.Capabilities()
	}
	for ctx.Err() == nil {
		call, cancel := context.WithTimeout(ctx, 10*time.Second)
		_, err := ask(call, r, cluster.MethodUpdateNode, u)
		cancel()
		if err == nil {
			return nil
		}
		r.log.Debug("announce this node's version", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

// leave hands over this node's duties, takes it out of the cluster, and
// forgets the membership.
func (r *runtime) leave(ctx context.Context, force bool, report func(string)) error {
	report("tell the cluster that this node leaves")
	_, err := ask(ctx, r, cluster.MethodRemoveNode, &cluster.RemoveRequest{Node: string(r.id.ID), Force: force, Begin: true})
	if err != nil && !force {
		return err
	}
	if err == nil && r.role != nil && len(r.dir.get().Controllers()) > 1 {
		report("hand over votes and servers")
		limit := handOverWait
		if force {
			limit = forcedHandOverWait
		}
		if err := r.waitSettled(ctx, limit); err != nil && !force {
			return r.stay(fmt.Errorf("the others have not taken over in time, so this node stays a member: %w", err))
		}
	}
	report("stop Consul and Nomad")
	r.kids.leave(ctx)
	report("leave the nodes table and gossip")
	if err := r.removeSelf(ctx, force); err != nil && !force {
		return r.stay(err)
	}
	if err := r.gossip.Leave(ctx, 3*time.Second); err != nil {
		r.log.Warn("say goodbye in gossip", "err", err)
	}
	r.over(r.forget)
	return nil
}

// stay takes a leave back that has failed for the given reason.
func (r *runtime) stay(cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // the caller's may be over
	defer cancel()
	r.kids.resume()
	if _, err := ask(ctx, r, cluster.MethodRemoveNode, &cluster.RemoveRequest{Node: string(r.id.ID), Cancel: true}); err != nil {
		return fmt.Errorf("%w (and the cluster still takes it for leaving: %w)", cause, err)
	}
	return cause
}

// removeSelf takes this node out of the nodes table. The others close its
// connections as soon as they know: the answer may be lost with them. Asked
// again they say that the node does not belong.
func (r *runtime) removeSelf(ctx context.Context, force bool) error {
	const attempts = 5
	for i := 1; ; i++ {
		_, err := askOthers(ctx, r, cluster.MethodRemoveNode, &cluster.RemoveRequest{Node: string(r.id.ID), Force: force})
		switch {
		case errors.Is(err, rpcerr.NotFound), errors.Is(err, rpcerr.Denied):
			return nil
		case !errors.Is(err, rpcerr.Deadline) && !errors.Is(err, rpcerr.Unavailable), i == attempts:
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// waitSettled waits until Raft, Consul and Nomad work without this node.
func (r *runtime) waitSettled(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		t, err := r.topologyFromOthers(ctx)
		if err == nil && t.Settled(r.id.ID) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// askOthers is ask without this node itself.
func askOthers[Req, Resp any](ctx context.Context, r *runtime, m rpc.Method[Req, Resp], req *Req) (*Resp, error) {
	last := error(rpcerr.New(rpcerr.Unavailable, "no other controller answers"))
	for _, n := range r.askOrder() {
		if n.ID == r.id.ID {
			continue
		}
		resp, err := rpc.Call(ctx, r.client, rpc.Target{ID: n.ID, Addr: n.RPCAddr()}, m, req)
		if err == nil || !rpcerr.Retryable(err) {
			return resp, err
		}
		last = err
	}
	return nil, last
}
