package agent

import (
	"context"
	"io"
	"time"

	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/internal/buildinfo"
)

// statusTimeout bounds how long status waits for one node.
const statusTimeout = 1500 * time.Millisecond

type statusRequest struct {
	// Index, if not 0, is that of an assignment which the node should have
	// taken over; it looks for a newer one first if it has not.
	Index uint64 `json:"index,omitempty"`
}

// statusResponse is what a node says of itself.
type statusResponse struct {
	Version    string             `json:"version"`
	Generation uint64             `json:"generation"`
	Index      uint64             `json:"index"` // of the assignment it works from
	Digest     string             `json:"digest"`
	Issuer     string             `json:"issuer"` // of its certificate
	Roles      []local.RoleStatus `json:"roles"`
	Processes  []local.Process    `json:"processes"`
	Raft       *consensus.Stats   `json:"raft,omitempty"`
	Now        time.Time          `json:"now"`
}

// forwardResponse is the answer to a local API request of another node.
type forwardResponse struct {
	Status      int    `json:"status"`
	ContentType string `json:"content_type"`
	Body        []byte `json:"body"`
}

// The methods that every node answers about itself.
var (
	methodStatus  = rpc.Method[statusRequest, statusResponse]{Name: "node.status", Callers: rpc.Member, Timeout: 5 * time.Second}
	methodForward = rpc.Method[local.ForwardRequest, forwardResponse]{
		Name: "node.forward", Callers: rpc.Controller, Timeout: 15 * time.Minute, MaxBody: 2 << 20, MaxResponse: 12 << 20,
	}
)

func serveNode(s *rpc.Server, r *runtime) {
	rpc.Handle(s, methodStatus, func(ctx context.Context, _ rpc.Caller, req *statusRequest) (*statusResponse, error) {
		r.catchUp(ctx, req.Index)
		out := r.ownStatus(ctx)
		return &out, nil
	})
	rpc.Handle(s, methodForward, func(ctx context.Context, _ rpc.Caller, req *local.ForwardRequest) (*forwardResponse, error) {
		resp, err := local.Invoke(ctx, r.agent.handler, *req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return &forwardResponse{resp.Status, resp.ContentType, body}, err
	})
}

// ownStatus is what this node says of itself.
func (r *runtime) ownStatus(ctx context.Context) statusResponse {
	a := r.dir.get()
	out := statusResponse{
		Version: buildinfo.Version, Generation: a.Self.Generation, Index: r.taken.upTo(), Digest: a.Digest(), Issuer: r.creds.issuer(),
		Roles: r.roleStatus(ctx), Processes: r.processes(), Now: r.cfg.Now(),
	}
	if r.role != nil {
		s := r.role.cons.Stats()
		out.Raft = &s
	}
	return out
}

// processes lists this node's processes.
func (r *runtime) processes() []local.Process {
	a := r.dir.get()
	out := []local.Process{}
	for _, v := range r.kids.views() {
		state, why := processState(v)
		p := local.Process{
			Node: a.Self.Name, Name: v.name, Roles: processRoles(a, v.name), State: state, PID: v.status.PID,
			StartedAt: v.status.StartedAt, Restarts: v.status.Restarts, Ready: state == local.StateRunning,
			Version: v.ver.String(), LogFile: v.status.LogFile, Error: why,
		}
		out = append(out, p)
	}
	return out
}
