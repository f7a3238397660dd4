package deploy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/jobs"
	"github.com/stackato/stackato/wire/instance"
)

// move is a write to a row that a pass found due.
type move struct {
	what  string // for the log
	write func(context.Context, State) error
}

// readLive reads which allocations of the processes in deployments are there to
// stay: what nodes tell of one that was stopped is late. The processes that it
// could not be read of are left out.
func (r *run) readLive(ctx context.Context, active []cf.Deployment) {
	var (
		mu sync.Mutex
		g  errgroup.Group
	)
	g.SetLimit(parallel)
	r.live = map[string]map[string]bool{}
	for _, d := range active {
		ids := map[string]bool{}
		r.live[d.ProcessGUID] = ids
		for version := range r.view.process[d.ProcessGUID] {
			g.Go(func() error {
				all, err := r.cfg.Nomad.Allocations(ctx, jobs.AppID(d.ProcessGUID, version))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					delete(r.live, d.ProcessGUID)
					return nil
				}
				for _, a := range all {
					ids[a.ID] = !a.Stopping && !a.Ended()
				}
				return nil
			})
		}
	}
	_ = g.Wait() // errors are told by what is missing
	if len(r.live) < len(active) {
		r.again(time.Second)
	}
}

// deployment returns the counts of the versions of a process that is in an
// active deployment, and what is to be noted of it.
func (r *run) deployment(d cf.Deployment, proc cf.Process) (map[string]int, *move) {
	if r.live[proc.GUID] == nil {
		counts := map[string]int{}
		for version := range r.view.process[proc.GUID] {
			counts[version] = r.view.count(proc.GUID, version)
		}
		return counts, nil
	}
	ro, step := r.rollout(d, proc)
	counts := map[string]int{ro.next.name: ro.grown()}
	left := ro.shrunk()
	for i, v := range ro.old {
		if !r.cfg.Instances.Learned() {
			left[i] = v.count
		}
		counts[v.name] = left[i]
	}
	m := r.noteDeployment(d, ro, step)
	return counts, m
}

// rollout describes where a deployment stands. step says that it is at a step
// of a canary deployment, after which it pauses.
func (r *run) rollout(d cf.Deployment, proc cf.Process) (ro rollout, step bool) {
	next, back := d.NewVersion, proc.Version
	ro = rollout{want: proc.Instances, limit: proc.Instances, inFlight: max(d.MaxInFlight, 1), keepSlots: true}
	if d.Reason == cf.ReasonCanceling {
		// Back to where it came from, at once.
		next, back = proc.Version, d.NewVersion
		ro.inFlight, ro.keepSlots = max(proc.Instances, 1), false
		if left := r.cfg.CancelWithin - r.cfg.Now().Sub(d.StatusChangedAt); left > 0 {
			r.again(left)
		} else {
			ro.want = 0 // nothing of the other version is kept for it
		}
	} else if d.Strategy == cf.StrategyCanary {
		step = ro.canary(d)
	}
	ro.next = r.version(proc.GUID, next)
	for name := range r.view.process[proc.GUID] {
		if name != next {
			ro.old = append(ro.old, r.version(proc.GUID, name))
		}
	}
	slices.SortFunc(ro.old, func(a, b version) int {
		switch { // what it would go back to is kept longest
		case a.name == back:
			return -1
		case b.name == back:
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	return ro, step
}

// version says what runs of one.
func (r *run) version(process, name string) version {
	v := version{name: name, count: r.view.count(process, name), ready: map[int]bool{}, fresh: map[int]bool{}}
	for _, s := range r.cfg.Instances.OfProcess(process) {
		if s.Version != name || !s.Ready || s.State != instance.Running || r.cfg.Instances.Stale(s.Node) {
			continue
		}
		if _, leaving := r.leaving[s.AllocID]; leaving || !r.live[process][s.AllocID] {
			continue
		}
		if r.settled(s) {
			v.ready[s.Index] = true
		} else {
			v.fresh[s.Index] = true
		}
	}
	return v
}

// settled reports whether an instance has been ready for long enough. If not,
// the next pass comes when it has.
func (r *run) settled(s instance.Status) bool {
	now := r.cfg.Now()
	since, ok := r.ready[s.AllocID]
	if !ok {
		since = now
	}
	r.stillReady[s.AllocID] = since
	left := r.cfg.Settle - now.Sub(since)
	if left > 0 {
		r.again(left)
	}
	return left <= 0
}

// noteDeployment says what to write of a deployment, nil for nothing.
func (r *run) noteDeployment(d cf.Deployment, ro rollout, step bool) *move {
	now := r.cfg.Now()
	canceled := d.Reason == cf.ReasonCanceling
	deadline := later(d.StatusChangedAt, d.LastHealthyAt).Add(r.cfg.Deadline)
	switch {
	case !r.cfg.Instances.Learned():
		return nil
	case ro.done() && !step, canceled && ro.want == 0 && ro.gone():
		return &move{"finish deployment " + d.GUID, func(ctx context.Context, s State) error {
			_, err := s.FinishDeployment(ctx, state.Target{GUID: d.GUID, At: now})
			return err
		}}
	case step && d.Reason == cf.ReasonDeploying && ro.reached():
		return r.progress(state.DeploymentProgress{GUID: d.GUID, Pause: true, Error: new(string), LastHealthyAt: &now, At: now})
	case canceled || d.Reason == cf.ReasonPaused:
		return nil
	case r.grew(d, ro):
		return r.progress(state.DeploymentProgress{GUID: d.GUID, Error: new(string), LastHealthyAt: &now, At: now})
	case now.After(deadline):
		return &move{"call off deployment " + d.GUID, func(ctx context.Context, s State) error {
			_, err := s.CancelDeployment(ctx, state.Target{GUID: d.GUID, At: now})
			if err == nil {
				why := cmp.Or(d.Error, "no further instance became ready")
				r.cfg.Say(d.AppGUID, fmt.Sprintf("Deployment %s is called off after %v: %s", d.GUID, r.cfg.Deadline, why))
			}
			return err
		}}
	}
	r.again(deadline.Sub(now))
	// A reason stands until there is progress: instances crash and start anew.
	if why := r.stuck(d, ro); why != "" && why != d.Error {
		return r.progress(state.DeploymentProgress{GUID: d.GUID, Error: &why, At: now})
	}
	return nil
}

func (r *run) progress(p state.DeploymentProgress) *move {
	return &move{"note progress of deployment " + p.GUID, func(ctx context.Context, s State) error {
		_, err := s.ProgressDeployment(ctx, p)
		return err
	}}
}

// grew reports whether more new instances are ready than at any time before,
// as far as this Primary knows.
func (r *run) grew(d cf.Deployment, ro rollout) bool {
	n := ro.next.readyBelow(ro.next.count)
	if n <= r.most[d.GUID] {
		return false
	}
	r.most[d.GUID] = n
	return true
}

// stuck says why a deployment does not get on, "" if nothing is known.
func (r *run) stuck(d cf.Deployment, ro rollout) string {
	for _, s := range r.cfg.Instances.OfProcess(d.ProcessGUID) {
		if s.Version == d.NewVersion && s.State == instance.Crashed && s.Reason != "" {
			return fmt.Sprintf("instance %d: %s", s.Index, s.Reason)
		}
	}
	if ro.next.count > 0 && ro.next.readyBelow(ro.next.count) < ro.next.count {
		return r.unplaced(jobs.AppID(d.ProcessGUID, d.NewVersion))
	}
	return ""
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
