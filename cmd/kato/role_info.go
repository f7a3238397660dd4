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
		Example:           "  kato role info\n  kato role info dea",
		ValidArgsFunction: a.completeRoles,
		RunE: func(c *cobra.Command, args []string) error {
			for _, name := range args {
				if _, err := node.ParseRole(name); err != nil {
					return local.Errorf(local.CodeNotFound, "", "%v", err)
				}
			}
			roles, err := a.client(c).Roles(c.Context())
			if err != nil {
				return err
			}
			if len(args) > 0 {
				roles = slices.DeleteFunc(roles, func(r local.RoleView) bool {
					return !slices.Contains(args, string(r.Role))
				})
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

func printRole(p *printer, r local.RoleView) {
	p.field("role", string(r.Role))
	p.field("does", r.Description)
	p.field("processes", orDash(strings.Join(r.Processes, " ")))
	p.field("nodes", orDash(strings.Join(r.Nodes, " ")))
	p.field("installed", yesNo(r.Installed))
	p.field("required", yesNo(r.Required))
}
