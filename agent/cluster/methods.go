package cluster

import (
	"context"
	"encoding/json"
	"time"

	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
)

// maxAssignmentWait bounds how long a node waits for news in one call.
const maxAssignmentWait = 25 * time.Second

// AssignmentRequest asks for the caller's own assignment.
type AssignmentRequest struct {
	Have string        `json:"have"` // digest of the one it works from
	Wait time.Duration `json:"wait_ns"`
}

// RenewRequest asks for a new certificate for the caller.
type RenewRequest struct {
	CSR []byte `json:"csr"`
}

// RenewResponse is the certificate, PEM.
type RenewResponse struct {
	Certificate []byte `json:"certificate"`
}

// TopologyRequest asks for nodes and voters.
type TopologyRequest struct {
	Fresh bool `json:"fresh"` // show every acknowledged write
}

// SettingsRequest lists settings.
type SettingsRequest struct {
	Prefix string `json:"prefix"`
}

// SettingsResponse is the list.
type SettingsResponse struct {
	Settings []Setting `json:"settings"`
}

// PutSettingRequest writes a setting.
type PutSettingRequest struct {
	Key       string          `json:"key"`
	Value     json.RawMessage `json:"value"`
	Force     bool            `json:"force"`
	IfVersion *uint64         `json:"if_version,omitempty"`
}

// Ring carries the sealing key ring.
type Ring struct {
	Data []byte `json:"data"`
}

// ApplyRequest is a forwarded write.
type ApplyRequest struct {
	Proposal consensus.Proposal `json:"proposal"`
}

// ApplyResponse is its result.
type ApplyResponse struct {
	Index  uint64          `json:"index"`
	Result json.RawMessage `json:"result"`
}

// ReadIndexResponse is the leader's read index.
type ReadIndexResponse struct {
	Index uint64 `json:"index"`
}

// The methods that controllers answer.
var (
	MethodJoin = rpc.Method[JoinRequest, JoinResponse]{
		Name: "cluster.join", Callers: rpc.Anonymous, Timeout: 15 * time.Second, MaxBody: 64 << 10,
	}
	MethodRenew = rpc.Method[RenewRequest, RenewResponse]{
		Name: "cluster.renew", Callers: rpc.Member | rpc.Expired, MaxBody: 64 << 10,
	}
	MethodAssignment = rpc.Method[AssignmentRequest, Assignment]{
		Name: "cluster.assignment", Callers: rpc.Member, Timeout: maxAssignmentWait + 5*time.Second,
	}
	MethodTopology     = rpc.Method[TopologyRequest, Topology]{Name: "cluster.topology", Callers: rpc.Member, Reads: true}
	MethodSetRoles     = rpc.Method[RoleRequest, node.Node]{Name: "cluster.set-roles", Callers: rpc.Member}
	MethodUpdateNode   = rpc.Method[NodeUpdate, node.Node]{Name: "cluster.update-node", Callers: rpc.Member}
	MethodRemoveNode   = rpc.Method[RemoveRequest, node.Node]{Name: "cluster.remove-node", Callers: rpc.Member}
	MethodSettings     = rpc.Method[SettingsRequest, SettingsResponse]{Name: "cluster.settings", Callers: rpc.Member, Reads: true}
	MethodPutSetting   = rpc.Method[PutSettingRequest, Setting]{Name: "cluster.put-setting", Callers: rpc.Controller}
	MethodRouterConfig = rpc.Method[RouterConfigRequest, RouterConfigResponse]{
		Name: "cluster.router-config", Callers: rpc.Member, Reads: true, Timeout: maxAssignmentWait + 5*time.Second,
		MaxResponse: 32 << 20, // maxSiteCerts of them
	}
	MethodRing      = rpc.Method[rpc.Empty, Ring]{Name: "cluster.ring", Callers: rpc.Controller, Reads: true}
	MethodMergeRing = rpc.Method[Ring, rpc.Empty]{Name: "cluster.merge-ring", Callers: rpc.Controller}
	MethodApply     = rpc.Method[ApplyRequest, ApplyResponse]{Name: "consensus.apply", Callers: rpc.Controller, MaxBody: 8 << 20}
	MethodReadIndex = rpc.Method[rpc.Empty, ReadIndexResponse]{Name: "consensus.read-index", Callers: rpc.Controller}
)

// Current returns the controller's operations, nil while the node does not
// have the role (any more).
type Current func() *Controller

// Serve registers the controllers' methods. The role can come and go while
// the server runs: current tells at each call.
func Serve(s *rpc.Server, current Current) {
	rpc.Handle(s, MethodJoin, on(current, func(ctx context.Context, c *Controller, _ Caller, r *JoinRequest) (*JoinResponse, error) {
		return ptr(c.Join(ctx, *r))
	}))
	rpc.Handle(s, MethodRenew, on(current, func(ctx context.Context, c *Controller, by Caller, r *RenewRequest) (*RenewResponse, error) {
		cert, err := c.Renew(ctx, by.ID, r.CSR)
		return &RenewResponse{cert}, err
	}))
	rpc.Handle(s, MethodAssignment, on(current, func(ctx context.Context, c *Controller, by Caller, r *AssignmentRequest) (*Assignment, error) {
		return ptr(c.WatchAssignment(ctx, by.ID, r.Have, min(max(r.Wait, 0), maxAssignmentWait)))
	}))
	rpc.Handle(s, MethodTopology, on(current, func(ctx context.Context, c *Controller, _ Caller, r *TopologyRequest) (*Topology, error) {
		return ptr(c.Topology(ctx, r.Fresh))
	}))
	rpc.Handle(s, MethodSetRoles, on(current, func(ctx context.Context, c *Controller, by Caller, r *RoleRequest) (*node.Node, error) {
		return ptr(c.SetRoles(ctx, by, *r))
	}))
	rpc.Handle(s, MethodUpdateNode, on(current, func(ctx context.Context, c *Controller, by Caller, r *NodeUpdate) (*node.Node, error) {
		return ptr(c.UpdateNode(ctx, by, *r))
	}))
	rpc.Handle(s, MethodRemoveNode, on(current, func(ctx context.Context, c *Controller, by Caller, r *RemoveRequest) (*node.Node, error) {
		return ptr(c.RemoveNode(ctx, by, *r))
	}))
	rpc.Handle(s, MethodSettings, on(current, func(ctx context.Context, c *Controller, _ Caller, r *SettingsRequest) (*SettingsResponse, error) {
		list, err := c.ListSettings(ctx, r.Prefix)
		return &SettingsResponse{list}, err
	}))
	rpc.Handle(s, MethodPutSetting, on(current, func(ctx context.Context, c *Controller, _ Caller, r *PutSettingRequest) (*Setting, error) {
		return ptr(c.PutSetting(ctx, r.Key, r.Value, r.Force, r.IfVersion))
	}))
	rpc.Handle(s, MethodRouterConfig, on(current, func(ctx context.Context, c *Controller, by Caller, r *RouterConfigRequest) (*RouterConfigResponse, error) {
		config, err := c.WatchRouterConfig(ctx, by.ID, r.Have, min(max(r.Wait, 0), maxAssignmentWait))
		if err == nil && config.Digest() == r.Have {
			return &RouterConfigResponse{Same: true}, nil
		}
		return &RouterConfigResponse{Config: config}, err
	}))
	serveInternal(s, current)
}

// serveInternal registers what controllers ask of each other.
func serveInternal(s *rpc.Server, current Current) {
	rpc.Handle(s, MethodRing, on(current, func(_ context.Context, c *Controller, by Caller, _ *rpc.Empty) (*Ring, error) {
		data, err := c.RingFor(by)
		return &Ring{data}, err
	}))
	rpc.Handle(s, MethodMergeRing, on(current, func(_ context.Context, c *Controller, by Caller, r *Ring) (*rpc.Empty, error) {
		return &rpc.Empty{}, c.MergeRing(by, r.Data)
	}))
	rpc.Handle(s, MethodApply, on(current, func(ctx context.Context, c *Controller, _ Caller, r *ApplyRequest) (*ApplyResponse, error) {
		index, result, err := c.cons.ApplyLocal(ctx, r.Proposal)
		return &ApplyResponse{index, result}, err
	}))
	rpc.Handle(s, MethodReadIndex, on(current, func(ctx context.Context, c *Controller, _ Caller, _ *rpc.Empty) (*ReadIndexResponse, error) {
		index, err := c.cons.ReadIndexLocal(ctx)
		return &ReadIndexResponse{index}, err
	}))
}

// on adapts an operation to a handler: it finds the controller and turns the
// caller into ours.
func on[Req, Resp any](current Current, fn func(context.Context, *Controller, Caller, *Req) (*Resp, error)) func(context.Context, rpc.Caller, *Req) (*Resp, error) {
	return func(ctx context.Context, by rpc.Caller, r *Req) (*Resp, error) {
		c := current()
		if c == nil {
			return nil, errNoController
		}
		return fn(ctx, c, Caller{ID: by.ID, Controller: by.Kinds.Has(rpc.Controller)}, r)
	}
}

func ptr[T any](v T, err error) (*T, error) { return &v, err }

// Peers reaches other controllers for agent/consensus.
type Peers struct{ Client *rpc.Client }

// Apply implements consensus.Peers.
func (p Peers) Apply(ctx context.Context, id node.ID, addr string, prop consensus.Proposal) (uint64, []byte, error) {
	r, err := rpc.Call(ctx, p.Client, rpc.Target{ID: id, Addr: addr}, MethodApply, &ApplyRequest{prop})
	if err != nil {
		return 0, nil, err
	}
	return r.Index, r.Result, nil
}

// ReadIndex implements consensus.Peers.
func (p Peers) ReadIndex(ctx context.Context, id node.ID, addr string) (uint64, error) {
	r, err := rpc.Call(ctx, p.Client, rpc.Target{ID: id, Addr: addr}, MethodReadIndex, &rpc.Empty{})
	if err != nil {
		return 0, err
	}
	return r.Index, nil
}
