package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
)

func newProcessList(a *app) *cobra.Command {
	var cluster bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the processes that the agent supervises",
		Example: "  kato process list\n  kato process list --cluster",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			procs, err := a.client(c).Processes(c.Context(), cluster)
			if err != nil {
				return err
			}
			return a.show(procs, func(p *printer) { printProcesses(p, procs) })
		},
	}
	c.Flags().BoolVarP(&cluster, "cluster", "c", false, "of every node")
	return c
}

func printProcesses(p *printer, procs []local.Process) {
	p.row("NODE", "PROCESS", "STATE", "READY", "PID", "SINCE", "RESTARTS", "VERSION", "ERROR")
	for _, pr := range procs {
		pid := ""
		if pr.PID > 0 {
			pid = strconv.Itoa(pr.PID)
		}
		p.row(pr.Node, pr.Name, stateCell(pr.State), yesNo(pr.Ready), pid, when(pr.StartedAt), pr.Restarts, pr.Version, pr.Error)
	}
}
