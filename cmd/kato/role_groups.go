package main

import "github.com/spf13/cobra"

func newRoleGroups(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "groups",
		Short: "List the role groups",
		Long: `List the role groups. A group is accepted wherever a role is. More groups stand in
/s/etc/kato/role_groups.yml on the node where kato runs:

  edge: [router, harbor]
  stores: [data-services, memcached]

A mistake in that file is an error that names line and group, and nothing is
changed.`,
		Example: "  kato role groups",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			groups, err := a.client(c).Groups(c.Context())
			if err != nil {
				return err
			}
			return a.show(groups, func(p *printer) {
				p.row("GROUP", "DEFINED", "ROLES")
				for _, g := range groups {
					defined := "here"
					if g.Builtin {
						defined = "built in"
					}
					p.row(g.Name, defined, list(g.Roles.List()))
				}
			})
		},
	}
}
