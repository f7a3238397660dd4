package agent

import (
	"context"
	"io"
	"time"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/inspect"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/logs"
	"github.com/stackato/stackato/wire/routing"
	"github.com/stackato/stackato/wire/rpcerr"
	"github.com/stackato/stackato/wire/staging"
)

// maxUpload bounds a droplet or build cache on its way to a controller.
const maxUpload = 4 << 30

type statsRequest struct {
	Process string `json:"process"`
}

type placedRequest struct {
	Allocations []string `json:"allocations"`
}

type placedResponse struct {
	Allocations map[string]instance.Placement `json:"allocations"`
}

type confirmRequest struct {
	AllocID string `json:"alloc_id"`
	Address string `json:"address"`
}

// What controllers answer to nodes.
var (
	methodInstance = rpc.Method[InstanceRequest, instance.Spec]{Name: "cloud.instance", Callers: rpc.Member, Reads: true}
	methodBuild    = rpc.Method[BuildRequest, staging.Spec]{Name: "cloud.build", Callers: rpc.Member}
	methodBlob     = rpc.RawMethod[BlobRequest, BlobInfo]{Name: "cloud.blob", Callers: rpc.Member, Idle: 30 * time.Second}
	methodDroplet  = rpc.RawMethod[UploadRequest, instance.Blob]{Name: "cloud.put-droplet", Callers: rpc.Member, Idle: 30 * time.Second, MaxBody: maxUpload}
	methodCache    = rpc.RawMethod[UploadRequest, instance.Blob]{Name: "cloud.put-cache", Callers: rpc.Member, Idle: 30 * time.Second, MaxBody: maxUpload}
	methodResult   = rpc.Method[ResultRequest, rpc.Empty]{Name: "cloud.result", Callers: rpc.Member}
	methodRoutes   = rpc.StreamMethod[rpc.Empty, routing.Update]{Name: "cloud.routes", Callers: rpc.Member, MaxItem: 256 << 20}
	methodApps     = rpc.Method[rpc.Empty, inspect.Apps]{Name: "cloud.differences", Callers: rpc.Member, Timeout: 3 * time.Second}
	methodAppCert  = rpc.Method[cluster.AppCertificateRequest, cluster.AppCertificateResponse]{Name: "cluster.app-certificate", Callers: rpc.Member}
)

// What controllers answer to each other.
var (
	methodPlaced   = rpc.Method[placedRequest, placedResponse]{Name: "cloud.placed", Callers: rpc.Controller, Timeout: 10 * time.Second, MaxResponse: 4 << 20}
	methodHasBlob  = rpc.Method[BlobRequest, BlobInfo]{Name: "blob.has", Callers: rpc.Controller}
	methodHeldBlob = rpc.RawMethod[BlobRequest, BlobInfo]{Name: "blob.held", Callers: rpc.Controller, Idle: 30 * time.Second}
	methodHoldBlob = rpc.RawMethod[instance.Blob, rpc.Empty]{Name: "blob.hold", Callers: rpc.Controller, Idle: 30 * time.Second, MaxBody: maxUpload}
)

// What nodes answer.
var (
	methodStates   = rpc.StreamMethod[rpc.Empty, instance.Report]{Name: "fence.states", Callers: rpc.Controller, MaxItem: 64 << 20}
	methodStats    = rpc.Method[statsRequest, instance.Report]{Name: "fence.stats", Callers: rpc.Controller, Timeout: 2 * time.Second}
	methodConfirm  = rpc.Method[confirmRequest, rpc.Empty]{Name: "fence.confirm", Callers: rpc.Member, Timeout: 2 * time.Second}
	methodWithdraw = rpc.Method[routing.Withdrawal, rpc.Empty]{Name: "router.withdraw", Callers: rpc.Member, Timeout: 5 * time.Second}
	methodReadLogs = rpc.Method[logs.ReadRequest, logs.ReadResponse]{Name: "logs.read", Callers: rpc.Controller, Timeout: 5 * time.Second, MaxResponse: 128 << 20}
)

func errNoRole(role node.Role) error {
	return rpcerr.New(rpcerr.Unavailable, "this node does not have the role %s (now)", role)
}

// cloud returns the Cloud Controller, or why there is none.
func (r *runtime) cloud() (CloudController, error) {
	if r.role == nil || r.role.cloud == nil {
		return nil, errNoRole(node.Controller)
	}
	return r.role.cloud, nil
}

// cloudFor returns the Cloud Controller for a caller that has the role.
func (r *runtime) cloudFor(c rpc.Caller, role node.Role) (CloudController, error) {
	if err := fromRole(c, role); err != nil {
		return nil, err
	}
	return r.cloud()
}

// fromRole refuses callers without a role: a router has no business with
// specifications, a DEA none with routes.
func fromRole(c rpc.Caller, role node.Role) error {
	if !c.Node.Roles.Has(role) {
		return rpcerr.New(rpcerr.Denied, "node %s does not have the role %s", c.Node.Name, role)
	}
	return nil
}

// servePlatform registers the platform's methods. Roles come and go while the
// server runs: who is not there (now) says so.
func servePlatform(s *rpc.Server, r *runtime) {
	serveDEA(s, r)
	serveUploads(s, r)
	rpc.HandleStream(s, methodRoutes, func(ctx context.Context, c rpc.Caller, _ *rpc.Empty, send func(*routing.Update) error) error {
		cc, err := r.cloudFor(c, node.Router)
		if err != nil {
			return err
		}
		return cc.Routes(ctx, c.ID, send)
	})
	rpc.Handle(s, methodApps, func(ctx context.Context, _ rpc.Caller, _ *rpc.Empty) (*inspect.Apps, error) {
		cc, err := r.cloud()
		if err != nil {
			return nil, err
		}
		out, err := cc.Differences(ctx)
		return &out, err
	})
	rpc.Handle(s, methodAppCert, func(ctx context.Context, c rpc.Caller, req *cluster.AppCertificateRequest) (*cluster.AppCertificateResponse, error) {
		if r.role == nil {
			return nil, errNoRole(node.Controller)
		}
		out, err := r.role.ctl.IssueAppCertificate(ctx, c.ID, req.CSR)
		return &out, err
	})
	serveNodeParts(s, r)
}

// serveDEA registers what DEAs ask of controllers.
func serveDEA(s *rpc.Server, r *runtime) {
	rpc.Handle(s, methodInstance, func(ctx context.Context, c rpc.Caller, req *InstanceRequest) (*instance.Spec, error) {
		cc, err := r.cloudFor(c, node.DEA)
		if err != nil {
			return nil, err
		}
		out, err := cc.Instance(ctx, c.ID, *req)
		return &out, err
	})
	rpc.Handle(s, methodBuild, func(ctx context.Context, c rpc.Caller, req *BuildRequest) (*staging.Spec, error) {
		cc, err := r.cloudFor(c, node.DEA)
		if err != nil {
			return nil, err
		}
		out, err := cc.Build(ctx, c.ID, *req)
		return &out, err
	})
	rpc.Handle(s, methodResult, func(ctx context.Context, c rpc.Caller, req *ResultRequest) (*rpc.Empty, error) {
		cc, err := r.cloudFor(c, node.DEA)
		if err != nil {
			return nil, err
		}
		return &rpc.Empty{}, cc.Result(ctx, c.ID, *req)
	})
	rpc.HandleRaw(s, methodBlob, func(ctx context.Context, c rpc.Caller, req *BlobRequest, _ io.Reader) (*BlobInfo, io.ReadCloser, error) {
		cc, err := r.cloudFor(c, node.DEA)
		if err != nil {
			return nil, nil, err
		}
		body, size, err := cc.Blob(ctx, c.ID, *req)
		return &BlobInfo{Size: size}, body, err
	})
}

// serveUploads registers what streams to a controller.
func serveUploads(s *rpc.Server, r *runtime) {
	put := func(cc CloudController, cache bool) func(context.Context, node.ID, UploadRequest, io.Reader) (instance.Blob, error) {
		if cache {
			return cc.PutCache
		}
		return cc.PutDroplet
	}
	for cache, m := range map[bool]rpc.RawMethod[UploadRequest, instance.Blob]{false: methodDroplet, true: methodCache} {
		rpc.HandleRaw(s, m, func(ctx context.Context, c rpc.Caller, req *UploadRequest, body io.Reader) (*instance.Blob, io.ReadCloser, error) {
			cc, err := r.cloudFor(c, node.DEA)
			if err != nil {
				return nil, nil, err
			}
			out, err := put(cc, cache)(ctx, c.ID, *req, body)
			return &out, nil, err
		})
	}
	rpc.HandleRaw(s, methodHoldBlob, func(ctx context.Context, _ rpc.Caller, req *instance.Blob, body io.Reader) (*rpc.Empty, io.ReadCloser, error) {
		cc, err := r.cloud()
		if err != nil {
			return nil, nil, err
		}
		return &rpc.Empty{}, nil, cc.HoldBlob(ctx, *req, body)
	})
	rpc.HandleRaw(s, methodHeldBlob, func(ctx context.Context, _ rpc.Caller, req *BlobRequest, _ io.Reader) (*BlobInfo, io.ReadCloser, error) {
		cc, err := r.cloud()
		if err != nil {
			return nil, nil, err
		}
		body, size, err := cc.HeldBlob(ctx, req.Digest)
		return &BlobInfo{Size: size}, body, err
	})
	rpc.Handle(s, methodPlaced, func(ctx context.Context, _ rpc.Caller, req *placedRequest) (*placedResponse, error) {
		cc, err := r.cloud()
		if err != nil {
			return nil, err
		}
		out, err := cc.Placed(ctx, req.Allocations)
		return &placedResponse{out}, err
	})
	rpc.Handle(s, methodHasBlob, func(ctx context.Context, _ rpc.Caller, req *BlobRequest) (*BlobInfo, error) {
		cc, err := r.cloud()
		if err != nil {
			return nil, err
		}
		out, err := cc.HasBlob(ctx, req.Digest)
		return &out, err
	})
}
