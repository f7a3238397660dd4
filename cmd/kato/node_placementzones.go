package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
)

const placementZonesHelp = `Placement zones are tags of nodes. An app that names a placement zone runs only on
nodes that have it; one that names none only on nodes that have none, or that have
the zone default.`

func newPlacementZonesAdd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "add <zone>…",
		Short:   "Add placement zones to a node",
		Example: "  kato node placementzones add ssd gpu --node n3",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.placementZones(c, local.PlacementZonesRequest{Node: a.node, Add: args})
		},
	}
}

func newPlacementZonesRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "remove <zone>…",
		Short:   "Remove placement zones from a node",
		Example: "  kato node placementzones remove gpu --node n3",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.placementZones(c, local.PlacementZonesRequest{Node: a.node, Remove: args})
		},
	}
}

func newPlacementZonesList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the placement zones of a node",
		Example: "  kato node placementzones list --node n3",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.placementZones(c, local.PlacementZonesRequest{Node: a.node})
		},
	}
}

func (a *app) placementZones(c *cobra.Command, r local.PlacementZonesRequest) error {
	out, err := a.cluster(c).PlacementZones(c.Context(), r)
	if err != nil {
		return err
	}
	return a.show(out, func(p *printer) { p.line("%s: %s", out.Node, orDash(strings.Join(out.Zones, " "))) })
}
