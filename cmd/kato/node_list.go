package main

import (
	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
)

func newNodeList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the nodes of the cluster",
		Long: `List every node that belongs to the cluster. VOTER tells its part in the
consensus: primary (elected leader), voter, nonvoter (a controller in reserve) or
none. GOSSIP is what the other nodes see of it; it never decides anything.`,
		Example: "  kato node list\n  kato node list --json | jq -r '.[].address'",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			nodes, err := a.client(c).Nodes(c.Context())
			if err != nil {
				return err
			}
			return a.show(nodes, func(p *printer) {
				p.row("NAME", "ADDRESS", "ZONE", "VOTER", "GOSSIP", "VERSION", "ROLES")
				for _, n := range nodes {
					p.row(n.Name, n.Address, n.Zone, voterCell(n.Voter), gossipCell(n.Gossip), n.Version, list(n.Roles.List()))
				}
			})
		},
	}
}

func voterCell(v string) cell {
	if v == local.VoterPrimary {
		return cell{v, green}
	}
	return cell{v, plain}
}

func gossipCell(g string) cell {
	switch g {
	case "alive":
		return cell{g, green}
	case "suspect":
		return cell{g, yellow}
	case "dead":
		return cell{g, red}
	}
	return cell{g, plain}
}
