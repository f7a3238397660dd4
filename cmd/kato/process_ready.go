package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
)

// readyPoll is how often readiness is asked while waiting.
const readyPoll = 500 * time.Millisecond

func newProcessReady(a *app) *cobra.Command {
	var block int
	c := &cobra.Command{
		Use:   "ready [process|all]",
		Short: "Tell whether processes are ready, or wait for it",
		Long: `Tell whether a process, or all of them, is ready. With --block it waits that many
seconds, 0 without limit. The exit code is 0 when ready and 1 when not: made for
scripts.`,
		Example:           "  kato process ready all --block 60 && deploy\n  kato process ready nomad",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeProcesses,
		RunE: func(c *cobra.Command, args []string) error {
			name := "all"
			if len(args) == 1 {
				name = args[0]
			}
			var limit time.Duration
			if c.Flags().Changed("block") {
				if limit = time.Duration(block) * time.Second; limit < 0 {
					return usageErrorf("0 waits without limit", "--block cannot be negative")
				}
			} else {
				limit = -1
			}
			return a.ready(c, name, limit)
		},
	}
	c.Flags().IntVarP(&block, "block", "b", 0, "wait up to so many seconds, 0 without limit (default: do not wait)")
	c.Flags().Lookup("block").DefValue = ""
	return c
}

// ready asks until ready or limit is over: negative asks once, 0 has no
// limit.
func (a *app) ready(c *cobra.Command, name string, limit time.Duration) error {
	var out local.Readiness
	err := a.during("waiting for "+name, func(local.Progress) (err error) {
		out, err = a.pollReady(c.Context(), a.client(c), name, limit)
		return err
	})
	if err != nil {
		return err
	}
	err = a.show(out, func(p *printer) {
		if out.Ready {
			p.line("ready")
			return
		}
		p.line("not ready")
		printProcesses(p, out.Waiting)
	})
	if err == nil && !out.Ready {
		return errFound
	}
	return err
}

// pollReady asks again while the agent says "not yet", or does not answer
// because it is just starting.
func (a *app) pollReady(ctx context.Context, l *local.Client, name string, limit time.Duration) (local.Readiness, error) {
	wait := ctx
	if limit > 0 {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	for {
		out, err := l.ProcessReady(ctx, name)
		var e *local.Error
		starting := errors.As(err, &e) && e.Code() == local.CodeUnavailable
		if limit < 0 || out.Ready || err != nil && !starting {
			return out, err
		}
		select {
		case <-wait.Done():
			if ctx.Err() != nil {
				return out, ctx.Err()
			}
			return out, err
		case <-time.After(readyPoll):
		}
	}
}
