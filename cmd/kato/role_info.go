package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
)

func newRoleInfo(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "info [role]…",
		Short:             "Show what roles do, their processes and nodes",
		Long:              "Show what roles do, their processes and nodes. With --node: those of that node.",
		Example:           "  kato role info\n  kato role info dea\n  kato role info --node n3",
		ValidArgsFunction: a.completeRoles,
		RunE: func(c *cobra.Command, args []string) error {
			roles, err := a.rolesOf(c, args)
			if err != nil {
				return err
			}
			return a.show(roles, func(p *printer) {
				for i, r := range roles {
					if i > 0 {
						p.line("")
					}
					printRole(p, r)
				}
			})
		},
	}
}

// rolesOf returns the named roles (none: all), with --node only those that
// the node has.
func (a *app) rolesOf(c *cobra.Command, names []string) ([]local.RoleView, error) {
	for _, name := range names {
		if _, err := node.ParseRole(name); err != nil {
			return nil, local.Errorf(local.CodeNotFound, "kato role list shows all", "%v", err)
		}
	}
	has := node.AllRoles()
	if a.node != "" {
		n, err := a.findNode(c)
		if err != nil {
			return nil, err
		}
		has = n.Roles
	}
	roles, err := a.cluster(c).Roles(c.Context())
	return slices.DeleteFunc(roles, func(r local.RoleView) bool {
		return !has.Has(r.Role) || len(names) > 0 && !slices.Contains(names, string(r.Role))
	}), err
}

func printRole(p *printer, r local.RoleView) {
	p.field("role", string(r.Role))
	p.field("does", r.Description)
	p.field("processes", orDash(strings.Join(r.Processes, " ")))
	p.field("nodes", orDash(strings.Join(r.Nodes, " ")))
	p.field("installed", yesNo(r.Installed))
	p.field("required", yesNo(r.Required))
}
