package deploy

import (
	"context"
	"fmt"

	"github.com/hashicorp/nomad/api"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/jobs"
)

// task plans the next step of a task that has not ended.
func (p *plan) task(r *run, t cf.Task) {
	id := jobs.TaskID(t.GUID)
	job, ok := r.view.jobs[id]
	switch {
	case t.State == cf.TaskCanceling && ok:
		// Not wanted: removed in this pass, noted in the next.
	case t.State == cf.TaskCanceling:
		p.endTask(r, t, cf.TaskFailed, "The task was cancelled")
	case !ok && t.State == cf.TaskPending:
		p.want[id] = want{1, func() (*api.Job, error) {
			image, err := r.image(t.Stack)
			return jobs.Task(jobs.AppTask{
				App: t.AppGUID, GUID: t.GUID, Name: t.Name, Size: jobs.Size{MemoryMB: t.MemoryMB, DiskMB: t.DiskMB},
				Image: image, Placement: r.placement(t.PlacementZone, image),
			}), err
		}}
	case !ok:
		p.endTask(r, t, cf.TaskFailed, "The scheduler lost the task")
	default:
		p.want[id] = want{count: 1}
		p.followTask(r, t, job)
	}
}

// followTask notes what became of a task whose job is there.
func (p *plan) followTask(r *run, t cf.Task, job Job) {
	switch {
	case job.Ended > 0 || job.Stopped:
		p.moves = append(p.moves, move{"end task " + t.GUID, func(ctx context.Context, s State) error {
			all, err := r.cfg.Nomad.Allocations(ctx, job.ID)
			if err != nil {
				return err
			}
			u := state.TaskUpdate{GUID: t.GUID, At: r.cfg.Now(), State: cf.TaskFailed, FailureReason: "The scheduler lost the task"}
			for _, a := range all {
				if a.Ended() {
					u.State, u.FailureReason = outcome(a)
				}
			}
			_, err = s.UpdateTask(ctx, u)
			return err
		}})
	case t.State == cf.TaskPending && job.Running > 0:
		p.endTask(r, t, cf.TaskRunning, "")
	case t.State == cf.TaskPending && job.Queued > 0:
		r.again(r.cfg.PlaceWithin)
		if r.cfg.Now().Sub(t.CreatedAt) < r.cfg.PlaceWithin {
			return
		}
		if why := r.unplaced(job.ID); why != "" {
			p.endTask(r, t, cf.TaskFailed, "InsufficientResources: "+why)
		}
	}
}

func (p *plan) endTask(r *run, t cf.Task, to, why string) {
	p.moves = append(p.moves, move{"note task " + t.GUID + " " + to, func(ctx context.Context, s State) error {
		_, err := s.UpdateTask(ctx, state.TaskUpdate{GUID: t.GUID, State: to, FailureReason: why, At: r.cfg.Now()})
		return err
	}})
}

// outcome says how a task ended.
func outcome(a Alloc) (st, why string) {
	switch {
	case a.State == AllocComplete:
		return cf.TaskSucceeded, ""
	case a.State == AllocLost:
		return cf.TaskFailed, "The node that ran the task was lost"
	case a.OutOfMemory():
		return cf.TaskFailed, "Out of memory: raise the task's memory (cf run-task -m)"
	case a.ExitCode != 0:
		return cf.TaskFailed, fmt.Sprintf("Exited with status %d", a.ExitCode)
	case a.Reason != "":
		return cf.TaskFailed, a.Reason
	}
	return cf.TaskFailed, "The task failed"
}
