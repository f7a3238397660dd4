package main

import (
	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
)

func newNodeAvailabilityZone(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "availabilityzone [zone]",
		Short: "Show or set the availability zone of a node",
		Long: `Show or set the availability zone of a node: the data centre, rack or power line
that it shares with others. Instances of an app are spread over zones and nodes;
give zones the same number of nodes, or large apps follow the nodes.`,
		Example: "  kato node availabilityzone\n  kato node availabilityzone eu-1b --node n3",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			out, err := a.zone(c, args)
			if err != nil {
				return err
			}
			return a.show(out, func(p *printer) { p.line("%s", out.Zone) })
		},
	}
}

// zoneView is a node's availability zone.
type zoneView struct {
	Node string `json:"node"`
	Zone string `json:"zone"`
}

func (a *app) zone(c *cobra.Command, args []string) (zoneView, error) {
	if len(args) == 1 {
		n, err := a.cluster(c).NodeSetZone(c.Context(), local.ZoneRequest{Node: a.node, Zone: args[0]})
		return zoneView{n.Name, n.Zone}, err
	}
	n, err := a.findNode(c)
	return zoneView{n.Name, n.Zone}, err
}

// findNode is the record of the node that --node names, or of this one.
func (a *app) findNode(c *cobra.Command) (local.NodeView, error) {
	nodes, err := a.cluster(c).Nodes(c.Context())
	if err != nil {
		return local.NodeView{}, err
	}
	for _, n := range nodes {
		if a.node == "" && n.Self || a.node != "" && (a.node == n.Name || a.node == n.Address || a.node == string(n.ID)) {
			return n, nil
		}
	}
	return local.NodeView{}, local.Errorf(local.CodeNotFound, "see kato node list", "there is no node %q", a.node)
}
