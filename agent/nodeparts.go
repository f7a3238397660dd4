package agent

import (
	"context"
	"io"
	"net"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/logs"
	"github.com/stackato/stackato/wire/routing"
	"github.com/stackato/stackato/wire/rpcerr"
)

// serveNodeParts registers what nodes answer about their parts.
func serveNodeParts(s *rpc.Server, r *runtime) {
	rpc.HandleStream(s, methodStates, func(ctx context.Context, _ rpc.Caller, _ *rpc.Empty, send func(*instance.Report) error) error {
		d, err := partOf[*dea](r, node.DEA)
		if err != nil {
			return err
		}
		return d.fence.Watch(ctx, func(rep instance.Report) error { return send(&rep) })
	})
	rpc.Handle(s, methodStats, func(_ context.Context, _ rpc.Caller, req *statsRequest) (*instance.Report, error) {
		d, err := partOf[*dea](r, node.DEA)
		if err != nil {
			return nil, err
		}
		out := &instance.Report{Instances: []instance.Status{}}
		for _, s := range d.fence.Stats() {
			if s.ProcessGUID == req.Process {
				out.Instances = append(out.Instances, s)
			}
		}
		return out, nil
	})
	rpc.Handle(s, methodConfirm, func(ctx context.Context, _ rpc.Caller, req *confirmRequest) (*rpc.Empty, error) {
		return &rpc.Empty{}, r.confirmOwn(ctx, req)
	})
	rpc.Handle(s, methodWithdraw, func(ctx context.Context, c rpc.Caller, req *routing.Withdrawal) (*rpc.Empty, error) {
		err := fromRole(c, node.DEA)
		if err == nil {
			err = speaksFor(c.Node, req.Address)
		}
		if err != nil {
			return nil, err
		}
		rt, err := partOf[*routerRole](r, node.Router)
		if err != nil {
			return nil, err
		}
		return &rpc.Empty{}, rt.Withdraw(ctx, *req)
	})
	rpc.Handle(s, methodReadLogs, func(ctx context.Context, _ rpc.Caller, req *logs.ReadRequest) (*logs.ReadResponse, error) {
		if r.logs == nil {
			return &logs.ReadResponse{}, nil
		}
		out, err := r.logs.Read(ctx, *req)
		return &out, err
	})
}

// speaksFor refuses a node that speaks of addresses of others.
func speaksFor(n node.Node, address string) error {
	if host, _, err := net.SplitHostPort(address); err != nil || host != n.Address {
		return rpcerr.New(rpcerr.Denied, "%q is not an address of node %s", address, n.Name)
	}
	return nil
}

// partOf returns a role's part of the given type.
func partOf[T rolePart](r *runtime, role node.Role) (T, error) {
	var zero T
	p, err := r.parts.get(role)
	if err != nil {
		return zero, rpcerr.New(rpcerr.Unavailable, "%s: %w", role, err)
	}
	t, ok := p.(T)
	if !ok {
		return zero, errNoRole(role)
	}
	return t, nil
}

// logStore implements LogStore over this node's store.
type logStore struct{ r *runtime }

// Append implements LogStore; a line that cannot be kept is reported once in
// a while by the store's user, never to the app.
func (l logStore) Append(line logs.Line) {
	if err := l.r.logs.Append(line); err != nil {
		l.r.log.Debug("keep a line of an app's log", "app", line.AppGUID, "err", err)
	}
}

// nodeCalls implements NodeCalls.
type nodeCalls struct{ r *runtime }

func target(n node.Node) rpc.Target { return rpc.Target{ID: n.ID, Addr: n.RPCAddr()} }

// States implements NodeCalls.
func (c nodeCalls) States(ctx context.Context, n node.Node, report func(instance.Report)) error {
	s, err := rpc.OpenStream(ctx, c.r.client, target(n), methodStates, &rpc.Empty{})
	if err != nil {
		return err
	}
	defer s.Close()
	for {
		rep, err := s.Next()
		if err != nil {
			return err
		}
		report(ownAddresses(n, *rep))
	}
}

// ownAddresses takes from a node's report every address that is not the node's
// own: routers connect to what stands there.
func ownAddresses(n node.Node, rep instance.Report) instance.Report {
	for i := range rep.Instances {
		s := &rep.Instances[i]
		if s.Address != "" && speaksFor(n, s.Address) != nil {
			s.Address, s.Ready = "", false
		}
	}
	return rep
}

// Placed implements NodeCalls.
func (c nodeCalls) Placed(ctx context.Context, n node.Node, ids []string) (map[string]instance.Placement, error) {
	r, err := rpc.Call(ctx, c.r.client, target(n), methodPlaced, &placedRequest{ids})
	if err != nil {
		return nil, err
	}
	return r.Allocations, nil
}

// Measure implements NodeCalls.
func (c nodeCalls) Measure(ctx context.Context, n node.Node, process string) ([]instance.Status, error) {
	r, err := rpc.Call(ctx, c.r.client, target(n), methodStats, &statsRequest{process})
	if err != nil {
		return nil, err
	}
	return r.Instances, nil
}

// ReadLogs implements NodeCalls.
func (c nodeCalls) ReadLogs(ctx context.Context, n node.Node, r logs.ReadRequest) (logs.ReadResponse, error) {
	return value(rpc.Call(ctx, c.r.client, target(n), methodReadLogs, &r))
}

// HeldBlob implements NodeCalls.
func (c nodeCalls) HeldBlob(ctx context.Context, n node.Node, digest string) (io.ReadCloser, int64, error) {
	info, body, err := rpc.CallRaw(ctx, c.r.client, target(n), methodHeldBlob, &BlobRequest{Digest: digest}, nil)
	if err != nil {
		return nil, 0, err
	}
	return body, info.Size, nil
}

// HasBlob implements NodeCalls.
func (c nodeCalls) HasBlob(ctx context.Context, n node.Node, digest string) (BlobInfo, error) {
	return value(rpc.Call(ctx, c.r.client, target(n), methodHasBlob, &BlobRequest{Digest: digest}))
}

// HoldBlob implements NodeCalls.
func (c nodeCalls) HoldBlob(ctx context.Context, n node.Node, b instance.Blob, body io.Reader) error {
	_, out, err := rpc.CallRaw(ctx, c.r.client, target(n), methodHoldBlob, &b, body)
	if err != nil {
		return err
	}
	return out.Close()
}
