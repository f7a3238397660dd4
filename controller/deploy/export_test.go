package deploy

import (
	"context"
)

// Steps is a Primary that does one pass at a time, for tests.
type Steps struct{ r *run }

// NewSteps lists the jobs, as a new Primary does.
func NewSteps(ctx context.Context, cfg Config, term uint64) (*Steps, error) {
	s := &Steps{newRun(cfg.withDefaults(), term)}
	return s, s.List(ctx)
}

// List lists the jobs again.
func (s *Steps) List(ctx context.Context) error {
	for _, prefix := range prefixes {
		all, index, err := s.r.cfg.Nomad.Jobs(ctx, prefix, 0)
		if err != nil {
			return err
		}
		s.r.view.replace(prefix, all, index)
	}
	return nil
}

// Pass does one pass.
func (s *Steps) Pass(ctx context.Context) error { return s.r.pass(ctx) }
