package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stackato/stackato/agent/apptail"
	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/fence"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/resolver"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/logs"
	"github.com/stackato/stackato/wire/routing"
	"github.com/stackato/stackato/wire/rpcerr"
	"github.com/stackato/stackato/wire/staging"
)

// dea is the DEA's part inside of the agent: fence and the follower of logs.
type dea struct {
	r      *runtime
	engine *fence.Engine
	fence  *fence.Fence
	guard  *fence.Guard
	names  *resolver.Resolver
	tail   *apptail.Tailer
	image  atomic.Pointer[string] // that apps run in, nil while it is not known
}

func newDEA(r *runtime) (*dea, error) {
	engine, err := fence.NewEngine(r.cfg.DockerSocket)
	if err != nil {
		return nil, err
	}
	d := &dea{r: r, engine: engine}
	dir := r.cfg.path("logs", "apps")
	d.tail, err = apptail.New(apptail.Config{Store: r.logs, Source: engine, Dir: dir, Log: r.log})
	if err != nil {
		return nil, err
	}
	d.guard = fence.NewGuard(fence.GuardConfig{
		Nodes:   func() []netip.Addr { return r.addresses(node.AllRoles()) },
		Routers: func() []netip.Addr { return r.addresses(node.NewRoleSet(node.Router)) },
		Allow:   r.routerPorts, Resolver: resolver.Address, Logger: r.log,
	})
	d.names = resolver.New(resolver.Config{Domain: r.dir.get().Domain, Routers: r.routersForContainers, Logger: r.log})
	self := r.dir.get().Self
	d.fence, err = fence.New(fence.Config{
		Engine: engine, Dir: r.cfg.fenceDir(), Node: string(self.ID), Address: self.Address,
		Programs: r.cfg.programs("stackato-launcher", "stackato-stager"), Controllers: fenceControllers{r}, Routers: fenceRouters{r},
		Log: d.line, Observer: d, Guard: d.guard, Images: d.images, Logger: r.log, Now: r.cfg.Now,
	})
	return d, err
}

// programs returns the paths of programs that are installed beside the agent's own.
func (c Config) programs(names ...string) []string {
	var out []string
	own, err := os.Executable()
	if err != nil {
		return nil // fence will say which program is missing when a container needs it
	}
	for _, name := range names {
		path := filepath.Join(filepath.Dir(own), name)
		if _, err := os.Stat(path); err == nil {
			out = append(out, path)
		}
	}
	return out
}

// Run implements rolePart.
func (d *dea) Run(ctx context.Context) error {
	defer d.engine.Close()
	if err := fence.RaiseLimits("/proc/sys"); err != nil {
		d.r.log.Warn("limits that all apps of this node share are low", "error", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.tail.Run(ctx) })
	group.Go(func() error { return d.fence.Run(ctx) })
	group.Go(func() error { return d.names.Run(ctx) })
	group.Go(func() error { return d.watchNodes(ctx) })
	group.Go(func() error { return d.watchImage(ctx) })
	err := group.Wait()
	if !d.r.dir.get().Self.Roles.Has(node.DEA) { // else containers run on while the agent is replaced
		ctx = context.WithoutCancel(ctx)
		err = errors.Join(err, d.guard.Remove(ctx), d.names.Remove(ctx))
	}
	return err
}

// watchNodes tells the guard of nodes that come and go.
func (d *dea) watchNodes(ctx context.Context) error {
	for {
		_, changed := d.r.dir.watch()
		d.guard.Changed()
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// Between two looks at which image apps run in, while there is none and later.
const (
	imageIntervalFirst = time.Second
	imageInterval      = 10 * time.Second
)

// watchImage learns which image apps run in, so that Ready can say whether it is here.
func (d *dea) watchImage(ctx context.Context) error {
	for {
		resp, err := ask(ctx, d.r, cluster.MethodSettings, &cluster.SettingsRequest{Prefix: SettingStackImage})
		if err == nil {
			image := ""
			for _, s := range resp.Settings {
				if s.Key == SettingStackImage && json.Unmarshal(s.Value, &image) != nil {
					image = "" // not a string: as if not set
				}
			}
			d.image.Store(&image)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(d.imagePause()):
		}
	}
}

func (d *dea) imagePause() time.Duration {
	if len(d.images()) == 0 {
		return imageIntervalFirst
	}
	return imageInterval
}

func (d *dea) images() []string {
	if image := d.image.Load(); image != nil && *image != "" {
		return []string{*image}
	}
	return nil
}

// Ready implements rolePart.
func (d *dea) Ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	return d.fence.Ready(ctx)
}

// readyWithin bounds a look at whether fence can take work.
const readyWithin = 2 * time.Second

// addresses are those of the nodes that have one of the roles.
func (r *runtime) addresses(roles node.RoleSet) []netip.Addr {
	var out []netip.Addr
	for _, n := range r.dir.get().Nodes {
		if addr, err := netip.ParseAddr(n.Address); err == nil && n.Roles.HasAny(roles) {
			out = append(out, addr)
		}
	}
	return out
}

// Started implements fence.Observer.
func (d *dea) Started(c fence.Container) {
	d.tail.Follow(apptail.Container{
		ID: c.ID, AppGUID: c.AppGUID, SourceType: sourceType(c), InstanceID: strconv.Itoa(c.Index), RateBytes: c.LogRateBytes,
	})
}

// Ended implements fence.Observer.
func (d *dea) Ended(c fence.Container) { d.tail.Ended(c.ID) }

// line writes a line of fence into an app's log.
func (d *dea) line(app, source, index, text string) {
	l := logs.Line{AppGUID: app, SourceType: source, InstanceID: index, Message: []byte(text), Time: d.r.cfg.Now().UnixNano()}
	if err := d.r.logs.Append(l); err != nil {
		d.r.log.Warn("keep a line of an app's log", "app", app, "err", err)
	}
}

func sourceType(c fence.Container) string {
	switch c.Kind {
	case instance.KindStaging:
		return logs.SourceStaging
	case instance.KindTask:
		return logs.SourceAppTask + c.Type
	}
	return logs.SourceAppProcess + strings.ToUpper(c.Type)
}

// confirm reports whether an instance has an address now. It waits until
// fence knows what runs.
func (d *dea) confirm(ctx context.Context, req *confirmRequest) error {
	if err := d.fence.Listed(ctx); err != nil {
		return rpcerr.New(rpcerr.Unavailable, "%w", err)
	}
	for _, s := range d.fence.Stats() {
		if s.AllocID == req.AllocID && s.Address == req.Address && s.State == instance.Running {
			return nil
		}
	}
	return rpcerr.New(rpcerr.NotFound, "no instance %s at %s", req.AllocID, req.Address)
}

// fenceControllers implements fence.Controllers by asking one controller
// after the other.
type fenceControllers struct{ r *runtime }

func (f fenceControllers) Instance(ctx context.Context, allocID, kind, process, version string) (instance.Spec, error) {
	return value(ask(ctx, f.r, methodInstance, &InstanceRequest{allocID, kind, process, version}))
}

func (f fenceControllers) Build(ctx context.Context, allocID, build string) (staging.Spec, error) {
	return value(ask(ctx, f.r, methodBuild, &BuildRequest{allocID, build}))
}

func (f fenceControllers) Result(ctx context.Context, token string, r staging.Result) error {
	_, err := ask(ctx, f.r, methodResult, &ResultRequest{token, r})
	return err
}

func (f fenceControllers) Blob(ctx context.Context, digest, token string) (io.ReadCloser, int64, error) {
	info, body, err := askRaw(ctx, f.r, methodBlob, &BlobRequest{digest, token}, nil)
	if err != nil {
		return nil, 0, err
	}
	return body, info.Size, nil
}

func (f fenceControllers) PutDroplet(ctx context.Context, build, token string, r io.Reader) (instance.Blob, error) {
	return f.put(ctx, methodDroplet, build, token, r)
}

func (f fenceControllers) PutCache(ctx context.Context, build, token string, r io.Reader) (instance.Blob, error) {
	return f.put(ctx, methodCache, build, token, r)
}

// put streams to the first controller that may be up: the stream can be read
// once, so fence tries again as a whole.
func (f fenceControllers) put(ctx context.Context, m rpc.RawMethod[UploadRequest, instance.Blob], build, token string, r io.Reader) (instance.Blob, error) {
	out, body, err := askRaw(ctx, f.r, m, &UploadRequest{build, token}, r)
	if err != nil {
		return instance.Blob{}, err
	}
	return *out, body.Close()
}

func value[T any](v *T, err error) (T, error) {
	if err != nil {
		var zero T
		return zero, err
	}
	return *v, nil
}

// askRaw is ask for a raw method. With a body only one controller is tried,
// one that gossip sees if there is one.
func askRaw[Req, Resp any](ctx context.Context, r *runtime, m rpc.RawMethod[Req, Resp], req *Req, body io.Reader) (*Resp, io.ReadCloser, error) {
	last := error(rpcerr.New(rpcerr.Unavailable, "no controller is known"))
	order := r.askOrder()
	for i, n := range order {
		if !r.seen(n.ID) && i < len(order)-1 {
			continue
		}
		resp, out, err := rpc.CallRaw(ctx, r.client, rpc.Target{ID: n.ID, Addr: n.RPCAddr()}, m, req, body)
		if err == nil {
			return resp, out, nil
		}
		last = err
		if ctx.Err() != nil || body != nil || !rpcerr.Retryable(err) {
			break
		}
	}
	return nil, nil, last
}

// fenceRouters implements fence.Routers: every router is told at once.
type fenceRouters struct{ r *runtime }

func (f fenceRouters) Withdraw(ctx context.Context, w routing.Withdrawal) error {
	var group errgroup.Group // one that fails must not keep the others from being told
	for _, n := range f.r.dir.get().Nodes {
		if !n.Roles.Without(n.StoppedRoles).Has(node.Router) {
			continue
		}
		group.Go(func() error {
			_, err := rpc.Call(ctx, f.r.client, rpc.Target{ID: n.ID, Addr: n.RPCAddr()}, methodWithdraw, &w)
			if (errors.Is(err, rpcerr.Unavailable) || errors.Is(err, rpcerr.Deadline)) && !f.r.seen(n.ID) {
				return nil // a router that is down sends nothing
			}
			return err
		})
	}
	return group.Wait()
}
