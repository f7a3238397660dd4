package main

import (
	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
)

func newProcessRestart(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "restart <process>",
		Short:             "Restart one process and wait until it runs",
		Example:           "  kato process restart nomad --node n3",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeProcesses,
		RunE: func(c *cobra.Command, args []string) error {
			var out local.Process
			err := a.during("restarting "+args[0], func(p local.Progress) (err error) {
				out, err = a.client(c).ProcessRestart(c.Context(), args[0], p)
				return err
			})
			if err != nil {
				return err
			}
			return a.show(out, func(p *printer) { printProcesses(p, []local.Process{out}) })
		},
	}
}
