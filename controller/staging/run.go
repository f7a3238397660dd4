package staging

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/deploy"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/jobs"
	"github.com/stackato/stackato/wire/staging"
)

// spare is how much longer than its own limit a stager is given to say that it
// was too slow.
const spare = 30 * time.Second

// Run ends builds of which nobody reports the end, as the Primary of a term,
// until ctx is done; then it returns nil.
func (s *Stager) Run(ctx context.Context, term uint64) error {
	st := s.cfg.State(term)
	failed := false
	for s.awaitBuilds(ctx, st) {
		err := s.look(ctx, st)
		if err != nil && !failed && ctx.Err() == nil {
			s.cfg.Log.Warn("could not look after the builds; it is tried again", "err", err)
		}
		failed = err != nil
		t := time.NewTimer(s.cfg.Poll)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
	return nil
}

// awaitBuilds returns true when a build is staging, false when ctx is done.
func (s *Stager) awaitBuilds(ctx context.Context, st State) bool {
	for ctx.Err() == nil {
		busy := false
		wait, cancel := context.WithCancel(ctx)
		// It ends with an error when ctx, or our own wait, is done.
		_ = st.Watch(wait, func(v *state.View) {
			if busy = len(v.BuildsInState(cf.BuildStaging)) > 0; busy {
				cancel()
			}
		})
		cancel()
		if busy {
			return ctx.Err() == nil
		}
	}
	return false
}

// look looks at every build that is staging.
func (s *Stager) look(ctx context.Context, st State) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	v, err := st.Read(ctx)
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(8)
	for _, b := range v.BuildsInState(cf.BuildStaging) {
		g.Go(func() error {
			f, err := s.verdict(ctx, b)
			if err != nil || f == nil {
				return err
			}
			return s.fail(ctx, st, b, *f)
		})
	}
	return g.Wait()
}

// verdict says why a build has failed, nil if it has not.
func (s *Stager) verdict(ctx context.Context, b cf.Build) (*failure, error) {
	set := s.cfg.settings()
	age := s.cfg.Now().Sub(b.CreatedAt)
	if age > set.Timeout+spare {
		return &failure{staging.ErrTimeout, fmt.Sprintf("Staging took longer than %v.", set.Timeout)}, nil
	}
	job := jobs.StagingID(b.GUID)
	all, err := s.cfg.Nomad.Allocations(ctx, job)
	if err != nil {
		return nil, err
	}
	if len(all) > 0 {
		return outcome(b, all), nil
	}
	if age < s.cfg.UnmetWithin {
		return nil, nil
	}
	u, err := s.cfg.Nomad.Unplaced(ctx, job)
	switch {
	case err != nil:
		return nil, err
	case u == nil && age >= s.cfg.PlaceWithin:
		return &failure{staging.ErrInsufficient, fmt.Sprintf(
			"The scheduler did not start the build within %v. (kato status)", s.cfg.PlaceWithin)}, nil
	case u == nil, (u.Full() || u.Coming(set.Zones, set.Images)) && age < s.cfg.PlaceWithin:
		return nil, nil
	}
	return &failure{staging.ErrInsufficient, u.Explain(set.Zones, set.Images)}, nil
}

// outcome says why containers ended without a report, nil while one runs.
func outcome(b cf.Build, all []deploy.Alloc) *failure {
	f := &failure{staging.ErrStaging, "The node that staged the app was lost. Push the app again."}
	for _, a := range all {
		switch {
		case !a.Ended():
			return nil
		case a.OutOfMemory():
			f = &failure{staging.ErrOutOfMemory, fmt.Sprintf("Staging ran out of memory: it may use %d MB. "+
				"Give the app more (cf push -m), or ask for less while staging.", b.MemoryMB)}
		case a.State == deploy.AllocLost:
		case a.Reason != "":
			f = &failure{staging.ErrStaging, "The staging container could not be started: " + a.Reason}
		default:
			f = &failure{staging.ErrStaging, fmt.Sprintf("The stager ended with status %d and said nothing. "+
				"The log may say more (cf logs --recent).", a.ExitCode)}
		}
	}
	return f
}
