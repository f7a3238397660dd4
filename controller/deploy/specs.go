package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/jobs"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/rpcerr"
)

// Views offers the rows: [state.Store].
type Views interface {
	// Read shows everything that was acknowledged before the call.
	Read(ctx context.Context) (*state.View, error)
	// Local shows what this controller has; it needs no Primary.
	Local() *state.View
}

// Placement says what runs where: a [Nomad].
type Placement interface {
	Allocation(ctx context.Context, id string) (Alloc, error)
	Allocations(ctx context.Context, job string) ([]Alloc, error)
}

// Opener reads blobs.
type Opener interface {
	// Open returns the content and its size, -1 if that is not known yet.
	Open(ctx context.Context, digest string) (io.ReadCloser, int64, error)
}

// SpecConfig says what a [Specs] works with. All fields are needed.
type SpecConfig struct {
	State     Views
	Placement Placement
	Sealer    state.Sealer
	Blobs     Opener
	// APIURL returns where the API is, for VCAP_APPLICATION.
	APIURL func() string
	// Certificates returns the cluster's further trusted authorities, PEM.
	Certificates func() string
}

// Specs tells nodes what they start instances from. A node is told only of
// what the scheduler has placed on it. It is safe for concurrent use; every
// controller has one.
type Specs struct{ cfg SpecConfig }

// NewSpecs returns a Specs.
func NewSpecs(cfg SpecConfig) *Specs { return &Specs{cfg} }

// Instance returns what the allocation, which the node says is one of that
// version of a process (kind app) or of that task (kind task), is started
// from. What is not so is refused with rpcerr.Denied; rpcerr.NotFound means
// that it is not wanted any more.
func (s *Specs) Instance(ctx context.Context, node, alloc, kind, process, version string) (instance.Spec, error) {
	var job string
	switch kind {
	case jobs.KindApp:
		job = jobs.AppID(process, version)
	case jobs.KindTask:
		job = jobs.TaskID(process)
	default:
		return instance.Spec{}, rpcerr.New(rpcerr.Invalid, "there are no instances of kind %q", kind)
	}
	if _, err := CheckPlaced(ctx, s.cfg.Placement, node, alloc, job); err != nil {
		return instance.Spec{}, err
	}
	// A version never changes: an old view of it will do. This works without
	// a Primary, too.
	spec, ok, err := s.spec(s.cfg.State.Local(), kind, process, version)
	if ok || err != nil {
		return spec, err
	}
	v, err := s.cfg.State.Read(ctx)
	if err != nil {
		return instance.Spec{}, rpcerr.New(rpcerr.Unavailable, "%w", err)
	}
	spec, ok, err = s.spec(v, kind, process, version)
	if err == nil && !ok {
		err = rpcerr.New(rpcerr.NotFound, "%s is not wanted any more", job)
	}
	return spec, err
}

// CheckPlaced returns the allocation if it is one of the job and on the node,
// else an error of rpcerr.Denied.
func CheckPlaced(ctx context.Context, p Placement, node, alloc, job string) (Alloc, error) {
	a, err := p.Allocation(ctx, alloc)
	switch {
	case errors.Is(err, ErrNoAllocation):
		return a, rpcerr.New(rpcerr.Denied, "there is no allocation %s", alloc)
	case err != nil:
		return a, rpcerr.New(rpcerr.Unavailable, "the scheduler does not answer: %w", err)
	case a.Node != node:
		return a, rpcerr.New(rpcerr.Denied, "allocation %s is not on node %s", alloc, node)
	case a.Job != job:
		return a, rpcerr.New(rpcerr.Denied, "allocation %s is not one of job %s", alloc, job)
	}
	return a, nil
}

func (s *Specs) spec(v *state.View, kind, process, version string) (instance.Spec, bool, error) {
	if kind == jobs.KindTask {
		t, ok := v.Task(process)
		if !ok {
			return instance.Spec{}, false, nil
		}
		return s.task(v, t)
	}
	pv, ok := v.ProcessVersion(process, version)
	if !ok {
		return instance.Spec{}, false, nil
	}
	return s.process(v, pv)
}

func (s *Specs) process(v *state.View, pv cf.ProcessVersion) (instance.Spec, bool, error) {
	spec, app, err := s.common(v, pv.AppGUID, pv.Env, pv.Services)
	if err != nil || app == nil {
		return spec, false, err
	}
	app.ProcessID, app.ProcessType, app.Version, app.AppVersion = pv.ProcessGUID, pv.Type, pv.Version, pv.Version
	app.Limits["mem"], app.Limits["disk"] = pv.MemoryMB, pv.DiskMB
	spec.ProcessGUID, spec.ProcessType, spec.Version = pv.ProcessGUID, pv.Type, pv.Version
	spec.Command, spec.Droplet = pv.Command, pv.Droplet
	spec.MemoryMB, spec.DiskMB, spec.LogRateBytes = pv.MemoryMB, pv.DiskMB, pv.LogRateBytes
	spec.Health, spec.Readiness = pv.Health.Check(), pv.Readiness.Check()
	for _, c := range pv.Sidecars {
		spec.Sidecars = append(spec.Sidecars, instance.Sidecar{Name: c.Name, Command: c.Command, MemoryMB: c.MemoryMB})
	}
	return finished(spec, app)
}

func (s *Specs) task(v *state.View, t cf.Task) (instance.Spec, bool, error) {
	spec, app, err := s.common(v, t.AppGUID, t.Env, t.Services)
	if err != nil || app == nil {
		return spec, false, err
	}
	app.Limits["mem"], app.Limits["disk"] = t.MemoryMB, t.DiskMB
	spec.ProcessGUID, spec.ProcessType, spec.TaskName = t.GUID, "task", t.Name
	spec.Command, spec.Droplet = t.Command, t.Droplet
	spec.MemoryMB, spec.DiskMB, spec.LogRateBytes = t.MemoryMB, t.DiskMB, t.LogRateBytes
	spec.Health.Type, spec.Readiness.Type = instance.CheckProcess, instance.CheckProcess
	return finished(spec, app)
}

// common fills in what processes and tasks have; app is nil if there is no
// such app any more.
func (s *Specs) common(v *state.View, guid string, sealed cf.SecretMap, bound []cf.BoundService) (instance.Spec, *cf.VCAPApplication, error) {
	o, ok := OwnerOf(v, guid)
	if !ok {
		return instance.Spec{}, nil, nil
	}
	own, err := state.OpenEnv(s.cfg.Sealer, guid, sealed)
	if err != nil {
		return instance.Spec{}, nil, fmt.Errorf("environment of app %s: %w", guid, err)
	}
	services, err := Services(s.cfg.Sealer, bound)
	if err != nil {
		return instance.Spec{}, nil, fmt.Errorf("services of app %s: %w", guid, err)
	}
	app := o.Application(v, s.cfg.APIURL())
	return instance.Spec{
		AppGUID: o.App.GUID, AppName: o.App.Name, SpaceGUID: o.Space.GUID, SpaceName: o.Space.Name,
		OrgGUID: o.Org.GUID, OrgName: o.Org.Name,
		Env:      Environment(v.EnvGroup(cf.EnvRunning), own),
		Services: services, Certificates: s.cfg.Certificates(),
	}, &app, nil
}

func finished(spec instance.Spec, app *cf.VCAPApplication) (instance.Spec, bool, error) {
	var err error
	spec.Application, err = json.Marshal(app)
	return spec, true, err
}

// Droplet opens a droplet that something placed on the node runs, and returns
// its size, -1 if that is not known yet. Any other blob is refused with
// rpcerr.Denied.
func (s *Specs) Droplet(ctx context.Context, node, digest string) (io.ReadCloser, int64, error) {
	v := s.cfg.State.Local()
	if !hasDroplet(v, digest) {
		var err error
		if v, err = s.cfg.State.Read(ctx); err != nil {
			return nil, 0, rpcerr.New(rpcerr.Unavailable, "%w", err)
		}
	}
	for _, job := range jobsOfDroplet(v, digest) {
		all, err := s.cfg.Placement.Allocations(ctx, job)
		if err != nil {
			return nil, 0, rpcerr.New(rpcerr.Unavailable, "the scheduler does not answer: %w", err)
		}
		for _, a := range all {
			if a.Node == node && !a.Ended() {
				return s.cfg.Blobs.Open(ctx, digest)
			}
		}
	}
	return nil, 0, rpcerr.New(rpcerr.Denied, "nothing on node %s runs the droplet %.12s…", node, digest)
}

func hasDroplet(v *state.View, digest string) bool { return len(jobsOfDroplet(v, digest)) > 0 }

// jobsOfDroplet are the jobs that may run a droplet.
func jobsOfDroplet(v *state.View, digest string) []string {
	if digest == "" {
		return nil
	}
	var out []string
	for _, pv := range v.ProcessVersions() {
		if pv.Droplet.Digest == digest {
			out = append(out, jobs.AppID(pv.ProcessGUID, pv.Version))
		}
	}
	for _, t := range v.Tasks() {
		if t.Droplet.Digest == digest && !t.Ended() {
			out = append(out, jobs.TaskID(t.GUID))
		}
	}
	return out
}
