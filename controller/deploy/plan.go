package deploy

import (
	"errors"
	"fmt"

	"github.com/hashicorp/nomad/api"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/jobs"
)

// want is a job that shall be there.
type want struct {
	count int // 1 for tasks and builds
	make  func() (*api.Job, error)
}

// errGone means that a row names another that is not there.
var errGone = errors.New("the rows do not say what it runs: restart the app (cf restart)")

// image returns the image of a stack. A job without one could not be mended:
// jobs change in their count only.
func (r *run) image(stack string) (string, error) {
	if image := r.cfg.Image(stack); image != "" {
		return image, nil
	}
	return "", fmt.Errorf("there is no image of the stack %q yet", stack)
}

// op is one write to Nomad.
type op struct {
	id    string
	job   func() (*api.Job, error) // registers, if not nil
	scale bool                     // else scales to count, or else removes
	count int
	index uint64
}

// plan is what a pass is going to do.
type plan struct {
	want map[string]want
	// moves are writes to the rows of deployments and tasks.
	moves []move
}

func (r *run) plan(v *state.View) *plan {
	p := &plan{want: make(map[string]want, len(r.view.jobs))}
	deployments := map[string]cf.Deployment{}
	for _, d := range v.ActiveDeployments() {
		deployments[d.ProcessGUID] = d
	}
	started := map[string]bool{}
	for _, a := range v.AppsInState(cf.AppStarted) {
		started[a.GUID] = true
	}
	for _, proc := range v.Processes() {
		if !started[proc.AppGUID] {
			continue
		}
		counts := map[string]int{proc.Version: proc.Instances}
		if d, ok := deployments[proc.GUID]; ok {
			var m *move
			counts, m = r.deployment(d, proc)
			if m != nil {
				p.moves = append(p.moves, *m)
			}
		}
		for version, n := range counts {
			p.process(r, v, proc, version, n)
		}
	}
	for _, b := range v.BuildsInState(cf.BuildStaging) {
		p.want[jobs.StagingID(b.GUID)] = want{1, func() (*api.Job, error) { return r.buildJob(v, b) }}
	}
	for _, st := range []string{cf.TaskPending, cf.TaskRunning, cf.TaskCanceling} {
		for _, t := range v.TasksInState(st) {
			p.task(r, t)
		}
	}
	return p
}

// process wants n instances of a version.
func (p *plan) process(r *run, v *state.View, proc cf.Process, version string, n int) {
	if n <= 0 || version == "" {
		return
	}
	id := jobs.AppID(proc.GUID, version)
	if have, ok := r.view.jobs[id]; ok && !have.Stopped && have.Count == n {
		p.want[id] = want{count: n} // as it is; the common case
		return
	}
	p.want[id] = want{n, func() (*api.Job, error) {
		pv, ok := v.ProcessVersion(proc.GUID, version)
		if !ok {
			return nil, errGone
		}
		image, err := r.image(pv.Stack)
		return jobs.App(jobs.Process{
			App: pv.AppGUID, GUID: pv.ProcessGUID, Type: pv.Type, Version: version, Instances: n,
			Size: jobs.Size{MemoryMB: pv.MemoryMB, DiskMB: pv.DiskMB}, Image: image,
			Placement: r.placement(pv.PlacementZone, image),
		}), err
	}}
}

func (r *run) placement(zone, image string) jobs.Placement {
	p := jobs.Placement{Zone: zone}
	if r.cfg.StackMeta {
		p.Stack = image
	}
	return p
}

// buildJob places a build where its app will run: a zone that does not exist
// shows before anything is staged.
func (r *run) buildJob(v *state.View, b cf.Build) (*api.Job, error) {
	app, ok := v.App(b.AppGUID)
	if !ok {
		return nil, errGone
	}
	image, err := r.image(b.Stack)
	return jobs.Staging(jobs.Build{
		App: b.AppGUID, GUID: b.GUID, Size: jobs.Size{MemoryMB: b.MemoryMB, DiskMB: b.DiskMB},
		Image: image, Placement: r.placement(app.PlacementZone, image),
	}), err
}

// ops are the differences between what is wanted and what Nomad has.
func (p *plan) ops(v *view) []op {
	var out []op
	for id, w := range p.want {
		have, ok := v.jobs[id]
		kind, _, _, _ := jobs.Parse(id)
		switch {
		case !ok || kind == jobs.KindApp && have.Stopped:
			out = append(out, op{id: id, job: w.make, count: w.count, index: have.Index})
		case kind == jobs.KindApp && have.Count != w.count:
			out = append(out, op{id: id, scale: true, count: w.count, index: have.Index})
		}
	}
	for id, have := range v.jobs {
		if _, ok := p.want[id]; !ok {
			out = append(out, op{id: id, index: have.Index})
		}
	}
	return out
}
