package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/wire/rpcerr"
)

// startWait bounds how long init and join wait until the new node works.
const startWait = time.Minute

// Init implements local.MemberBackend.
func (b *backend) Init(ctx context.Context, req local.InitRequest, p local.Progress) (local.InitResult, error) {
	b.a.setup.Lock()
	defer b.a.setup.Unlock()
	out, err := NewSetup(b.a.cfg).Init(ctx, req, p)
	if err != nil {
		return out, err
	}
	return out, b.begin(ctx, p)
}

// Join implements local.MemberBackend.
func (b *backend) Join(ctx context.Context, req local.JoinRequest, p local.Progress) (local.JoinResult, error) {
	b.a.setup.Lock()
	defer b.a.setup.Unlock()
	out, err := NewSetup(b.a.cfg).Join(ctx, req, p)
	if err != nil {
		return out, err
	}
	return out, b.begin(ctx, p)
}

// begin starts the node's first life and waits until its membership works:
// the base role is up, and on a controller consensus.
func (b *backend) begin(ctx context.Context, p local.Progress) error {
	step := stepper(p)
	step("start the node")
	b.a.wake()
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	var last error
	for {
		if r := b.a.current(); r != nil {
			if last = r.started(); last == nil {
				step("")
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return local.Errorf(local.CodeTimeout, "see kato status and the agent's log; the node goes on trying",
				"the node is a member but does not work yet: %v", last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// started returns nil when the node takes part in the cluster.
func (r *runtime) started() error {
	a := r.dir.get()
	if a.Self.Roles.Has(node.Controller) {
		if state, why := r.consensusState(); state != local.StateRunning {
			return errors.New(why)
		}
		if f, err := r.store.founding(); err != nil || f != nil {
			return errors.New("the cluster's first rows are not written yet")
		}
	}
	if state, why := r.worst("consul"); state != local.StateRunning {
		return errors.New(why)
	}
	if a.IsVoter() || runsClient(a) {
		if state, why := r.worst("nomad"); state != local.StateRunning {
			return errors.New(why)
		}
	}
	return nil
}

// Leave implements local.MemberBackend.
func (b *backend) Leave(ctx context.Context, req local.LeaveRequest, p local.Progress) error {
	b.a.setup.Lock()
	defer b.a.setup.Unlock()
	r, err := b.member()
	if err != nil {
		return err
	}
	step := stepper(p)
	if err := r.leave(ctx, req.Force, step); err != nil {
		return err
	}
	step("forget the membership")
	for b.a.current() == r {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	step("")
	return nil
}

// waitGone waits until Raft does without a removed node.
func (r *runtime) waitGone(ctx context.Context, id node.ID) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		t, err := ask(ctx, r, cluster.MethodTopology, &cluster.TopologyRequest{Fresh: true})
		if err == nil && t.Settled(id) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(rpcerr.New(rpcerr.Unavailable, "the node is removed, but still part of Raft").
				WithHint("see kato status; the Primary goes on trying"), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Forward implements local.ForwardBackend.
func (b *backend) Forward(ctx context.Context, key string, req local.ForwardRequest) (local.ForwardResponse, error) {
	r, _, err := b.controllerOnly()
	if err != nil {
		return local.ForwardResponse{}, err
	}
	n, err := r.lookup(key)
	if err != nil {
		return local.ForwardResponse{}, err
	}
	resp, err := r.forward(ctx, n, &req)
	if err != nil {
		return local.ForwardResponse{}, fmt.Errorf("ask %s: %w", n.Name, err)
	}
	return local.ForwardResponse{
		Status: resp.Status, ContentType: resp.ContentType, Body: io.NopCloser(bytes.NewReader(resp.Body)),
	}, nil
}

// Bounds of asking a node again that does not take this one for a controller:
// it may only not have heard of it yet.
const (
	forwardAgain = 5 * time.Second
	forwardPause = 100 * time.Millisecond
)

// forward passes a request on to a node. A refusal is one of this node, before
// the request is looked at: what the request comes to stands in the response.
func (r *runtime) forward(ctx context.Context, n node.Node, req *local.ForwardRequest) (*forwardResponse, error) {
	began := time.Now()
	for {
		resp, err := rpc.Call(ctx, r.client, rpc.Target{ID: n.ID, Addr: n.RPCAddr()}, methodForward, req)
		if !errors.Is(err, rpcerr.Denied) || time.Since(began) > forwardAgain {
			return resp, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(forwardPause):
		}
	}
}

// lookup finds a node in what this node knows, without asking.
func (r *runtime) lookup(key string) (node.Node, error) {
	for _, n := range r.dir.get().Nodes {
		if string(n.ID) == key || n.Name == key || n.Address == key {
			return n, nil
		}
	}
	return node.Node{}, rpcerr.New(rpcerr.NotFound, "no node %q", key).WithHint("see: kato node list")
}
