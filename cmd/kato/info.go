package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func newInfo(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "info",
		Short:   "Show what this node is",
		Long:    "Show type, identity, roles and files of this node, and who is Primary. It needs no Primary to answer.",
		Example: "  kato info\n  kato info --node n3 --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			i, err := a.client(c).Info(c.Context())
			if err != nil {
				return err
			}
			return a.show(i, func(p *printer) {
				p.field("type", i.Type)
				p.field("node", i.Name)
				p.field("id", string(i.ID))
				p.field("address", i.Address)
				p.field("cluster", i.ClusterID)
				if i.Configured {
					p.field("primary", orNone(i.Primary))
				}
				p.field("voter", i.Voter)
				p.field("zone", i.Zone)
				p.field("placement zones", strings.Join(i.PlacementZones, " "))
				p.field("version", i.Version)
				p.field("assigned roles", list(i.AssignedRoles.List()))
				p.field("stopped roles", list(i.StoppedRoles.List()))
				p.field("available roles", list(i.AvailableRoles.List()))
				p.field("agent since", when(i.StartedAt))
				for _, name := range slices.Sorted(maps.Keys(i.Paths)) {
					p.field(name, i.Paths[name])
				}
				if !i.Configured {
					p.line("")
					p.line("This machine is in no cluster: use kato node setup, or kato node attach.")
				}
			})
		},
	}
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
