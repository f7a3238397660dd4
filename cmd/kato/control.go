package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
)

// controlText holds what differs between start, stop and restart.
var controlText = map[local.ControlOp]struct{ short, long, doing string }{
	local.ControlStart: {
		"Start roles of a node",
		"Start roles of a node that were stopped or assigned with --no-start.", "starting",
	},
	local.ControlStop: {
		"Stop roles of a node",
		"Stop roles of a node. They stay assigned, and stay stopped when the machine restarts.\nThe role base is never stopped.", "stopping",
	},
	local.ControlRestart: {"Restart roles of a node", "Restart roles of a node.", "restarting"},
}

func newControl(a *app, op local.ControlOp) *cobra.Command {
	text := controlText[op]
	return &cobra.Command{
		Use:               string(op) + " [role|group]…",
		Short:             text.short,
		Long:              text.long + " Without names: every assigned role.",
		Example:           fmt.Sprintf("  kato %s dea\n  kato %s data-services --node n3", op, op),
		ValidArgsFunction: a.completeRoles,
		RunE: func(c *cobra.Command, args []string) error {
			if op == local.ControlStop && len(args) == 0 {
				if err := a.confirm("Stop every role of %s?", a.target()); err != nil {
					return err
				}
			}
			names, err := a.expandGroups(c, args)
			if err != nil {
				return err
			}
			var out local.RoleControlResult
			err = a.during(text.doing+" roles", func(p local.Progress) (err error) {
				out, err = a.client(c).ControlRoles(c.Context(), local.RoleControl{Op: op, Names: names}, p)
				return err
			})
			if err != nil {
				return err
			}
			a.warn(out.Warnings...)
			return a.show(out, func(p *printer) {
				p.row("ROLE", "STATE", "DETAIL")
				for _, r := range out.Roles {
					p.row(r.Role, stateCell(r.State), r.Detail)
				}
			})
		},
	}
}
