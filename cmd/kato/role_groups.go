package main

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
)

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

// expandGroups replaces groups by their roles when another node serves the
// request: groups are those of the machine where kato runs. Other names stay,
// the agent judges them.
func (a *app) expandGroups(c *cobra.Command, names []string) ([]string, error) {
	if a.node == "" || len(names) == 0 {
		return names, nil
	}
	groups, err := a.cluster(c).Groups(c.Context())
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		i := slices.IndexFunc(groups, func(g local.GroupView) bool { return g.Name == name })
		if i < 0 {
			out = append(out, name)
			continue
		}
		out = append(out, groups[i].Roles.Strings()...)
	}
	return out, nil
}
