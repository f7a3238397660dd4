package api

import (
	"context"
	"errors"
	"time"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

// Operations of jobs that [API.RunJobs] works off.
const (
	jobDeleteOrganization = "organization.delete"
	jobDeleteSpace        = "space.delete"
	jobDeleteUnmapped     = "space.delete_unmapped_routes"
)

// jobRetry is how long a job waits after a step could not be written.
const jobRetry = time.Second

// RunJobs works off the jobs that requests have left, until ctx is done. The
// Primary calls it with its term, see [state.Store.AsTerm]. Every step of a job
// can be repeated, so a job goes on where another Primary was.
func (a *API) RunJobs(ctx context.Context, term uint64) error {
	store := a.State.AsTerm(term)
	for {
		var open []cf.Job
		err := awaitState(ctx, store, func(v *state.View) bool {
			open = v.JobsByState(cf.JobProcessing)
			return len(open) > 0
		})
		if err != nil {
			return err
		}
		for _, j := range open {
			if err := a.runJob(ctx, store, j); err != nil && ctx.Err() == nil {
				a.Logger.Warn("job is tried again", "job", j.GUID, "operation", j.Operation, "error", err)
				sleep(ctx, jobRetry)
			}
		}
	}
}

// awaitState returns when the state is as ready wants it, or with ctx's error.
func awaitState(ctx context.Context, store *state.Store, ready func(*state.View) bool) error {
	for {
		found := false
		watch, cancel := context.WithCancel(ctx)
		err := store.Watch(watch, func(v *state.View) {
			if found = ready(v); found {
				cancel() // do not wait for the next change
			}
		})
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case found:
			return nil
		case err != nil:
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// runJob does a job's steps and ends it. An error means that the job is not
// at its end.
func (a *API) runJob(ctx context.Context, store *state.Store, j cf.Job) error {
	step := map[string]func(context.Context, state.Target) (bool, error){
		jobDeleteOrganization: store.PurgeOrganization,
		jobDeleteSpace:        store.PurgeSpace,
		jobDeleteUnmapped:     store.DeleteUnmappedRoutes,
	}[j.Operation]
	if step == nil {
		unknown := cf.ErrServer.With("This controller does not know the operation %s.", j.Operation)
		return store.EndJob(ctx, j.GUID, []cf.Error{*unknown}, nil, a.Now())
	}
	for {
		done, err := step(ctx, state.Target{GUID: j.ResourceGUID, At: a.Now()})
		var refused *cf.Error
		switch {
		case errors.As(err, &refused) && !errors.Is(err, cf.ErrServiceUnavailable):
			a.Logger.Info("job failed", "job", j.GUID, "operation", j.Operation, "reason", refused.Detail)
			return store.EndJob(ctx, j.GUID, []cf.Error{*refused}, nil, a.Now())
		case err != nil:
			return err
		case done:
			return store.EndJob(ctx, j.GUID, nil, nil, a.Now())
		}
	}
}
