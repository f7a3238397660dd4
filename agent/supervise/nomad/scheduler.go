package nomad

import (
	"context"
	"errors"

	"github.com/hashicorp/nomad/api"
)

// SpreadLoad lets the servers place work where most is free, as Cloud
// Foundry's cells are chosen. Nomad's default fills one node before it takes
// the next: the loss of that one would end most apps of one instance. Other
// settings of the scheduler stay. Needs operator:write.
func (c *Client) SpreadLoad(ctx context.Context) error {
	return c.call(ctx, "set the scheduler's algorithm", func(a *api.Client) error {
		have, _, err := a.Operator().SchedulerGetConfiguration(nil)
		if err != nil {
			return err
		}
		conf := have.SchedulerConfig
		if conf == nil {
			return errors.New("it has no configuration yet")
		}
		if conf.SchedulerAlgorithm == api.SchedulerAlgorithmSpread {
			return nil
		}
		conf.SchedulerAlgorithm = api.SchedulerAlgorithmSpread
		res, _, err := a.Operator().SchedulerCASConfiguration(conf, nil)
		if err == nil && !res.Updated {
			err = errors.New("somebody else has changed it at the same time")
		}
		return err
	})
}
