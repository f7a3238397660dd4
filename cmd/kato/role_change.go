package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
)

func newRoleAdd(a *app) *cobra.Command {
	r := local.RoleChange{Op: local.RoleAdd}
	var allBut, only bool
	c := &cobra.Command{
		Use:   "add <role|group>…",
		Short: "Give roles to a node and start them",
		Long: `Give roles or groups to a node and start them. The node may be down: it follows
when it is back. Roles whose software this release does not have can be assigned;
a warning says so, and kato status shows them as "not installed".`,
		Example: `  kato role add dea
  kato role add data-services --node n3
  kato role add --all-but mdns
  kato role add --only dea router --yes`,
		ValidArgsFunction: a.completeRoles,
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case only && (r.All || allBut):
				return usageErrorf("", "--only goes without --all and --all-but")
			case only:
				r.Op = local.RoleSet
				if err := a.confirm("Give %s exactly these roles: %s, and remove all others?", a.target(), strings.Join(args, " ")); err != nil {
					return err
				}
			}
			return a.changeRoles(c, r, allBut, args)
		},
	}
	c.Flags().BoolVar(&only, "only", false, "exactly these roles: all others are removed")
	c.Flags().BoolVar(&r.NoStart, "no-start", false, "assign only: start them later with kato start")
	c.Flags().BoolVar(&r.All, "all", false, "every role that can go together")
	c.Flags().BoolVar(&allBut, "all-but", false, "every role that can go together, except the named ones")
	return c
}

func newRoleRemove(a *app) *cobra.Command {
	r := local.RoleChange{Op: local.RoleRemove}
	var allBut bool
	c := &cobra.Command{
		Use:   "remove <role|group>…",
		Short: "Stop roles and take them from a node",
		Long: `Stop roles or groups and take them from a node. Refused: base, the cluster's last
controller, and the router of a node that keeps controller.`,
		Example:           "  kato role remove dea --node n3\n  kato role remove --all-but dea --yes",
		ValidArgsFunction: a.completeRoles,
		RunE: func(c *cobra.Command, args []string) error {
			what := strings.Join(args, " ")
			if allBut {
				what = "every role except " + what
			} else if r.All {
				what = "every role"
			}
			if err := a.confirm("Take %s from %s?", what, a.target()); err != nil {
				return err
			}
			return a.changeRoles(c, r, allBut, args)
		},
	}
	c.Flags().BoolVar(&r.All, "all", false, "every role but base")
	c.Flags().BoolVar(&allBut, "all-but", false, "every role except base and the named ones")
	return c
}

// changeRoles sends the change. The request names the node, so that it works
// also while that node is down; groups are those of this machine.
func (a *app) changeRoles(c *cobra.Command, r local.RoleChange, allBut bool, args []string) error {
	switch {
	case r.All && (allBut || len(args) > 0):
		return usageErrorf("use --all-but to name exceptions", "--all goes alone")
	case !r.All && len(args) == 0:
		return usageErrorf("kato role list shows roles, kato role groups shows groups", "name at least one role or group")
	case allBut:
		r.AllBut = args
	default:
		r.Names = args
	}
	r.Node = a.node
	var out local.RoleChangeResult
	err := a.during("changing roles", func(p local.Progress) (err error) {
		out, err = a.cluster(c).ChangeRoles(c.Context(), r, p)
		return err
	})
	if err != nil {
		return err
	}
	a.warn(out.Warnings...)
	return a.show(out, func(p *printer) {
		p.line("%s: %s", out.Node, list(out.Roles.List()))
		printSet(p, "added", out.Roles.Without(out.Before))
		printSet(p, "removed", out.Before.Without(out.Roles))
		if out.Roles == out.Before {
			p.line("nothing to change")
		}
	})
}

func printSet(p *printer, what string, s node.RoleSet) {
	if s != 0 {
		p.line("%s: %s", what, list(s.List()))
	}
}
