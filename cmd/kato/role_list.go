package main

import (
	"strings"

	"github.com/spf13/cobra"
)

func newRoleList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the roles and the nodes that carry them",
		Example: "  kato role list\n  kato role list --json | jq '.[] | select(.nodes == [])'",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			roles, err := a.client(c).Roles(c.Context())
			if err != nil {
				return err
			}
			return a.show(roles, func(p *printer) {
				p.row("ROLE", "INSTALLED", "NODES", "DESCRIPTION")
				for _, r := range roles {
					p.row(r.Role, yesNo(r.Installed), strings.Join(r.Nodes, " "), r.Description)
				}
			})
		},
	}
}
