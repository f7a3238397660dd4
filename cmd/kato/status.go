package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
)

func newStatus(a *app) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how the roles of this node, or of all, fare",
		Long: `Show how the roles of this node fare; with --all those of every node, as a matrix.
All nodes are asked at once and have 1.5 seconds to answer. ANSWERS is that
answer; GOSSIP beside it is what other nodes see.

The exit code is 1 when something that should run does not, a node does not
answer, or there is no Primary.`,
		Example: "  kato status\n  kato status -a\n  kato status -a --json | jq .primary",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var s local.Status
			err := a.during("asking the nodes", func(local.Progress) (err error) {
				s, err = a.client(c).Status(c.Context(), all)
				return err
			})
			if err != nil {
				return err
			}
			if err := a.show(s, func(p *printer) { printStatus(p, s, all) }); err != nil {
				return err
			}
			if !s.Healthy() {
				return errFound
			}
			return nil
		},
	}
	c.Flags().BoolVarP(&all, "all", "a", false, "every node of the cluster")
	return c
}

func printStatus(p *printer, s local.Status, all bool) {
	p.field("cluster", s.ClusterID)
	p.field("primary", orNone(s.Primary))
	p.field("voters", strings.Join(s.Voters, " "))
	for _, n := range s.Notes {
		p.field("note", n)
	}
	p.line("")
	if all {
		printMatrix(p, s)
		return
	}
	for _, n := range s.Nodes {
		p.row("ROLE", "STATE", "DETAIL")
		for _, r := range n.Roles {
			p.row(r.Role, stateCell(r.State), r.Detail)
		}
		if n.Error != "" {
			p.line("%s: %s", n.Name, n.Error)
		}
	}
}

// printMatrix prints nodes × roles, with the roles that any node has.
func printMatrix(p *printer, s local.Status) {
	var used node.RoleSet
	for _, n := range s.Nodes {
		for _, r := range n.Roles {
			used = used.With(roleSet(r.Role))
		}
	}
	header := []any{"NODE", "ANSWERS", "GOSSIP", "VOTER", "VERSION"}
	for _, r := range used.List() {
		header = append(header, strings.ToUpper(string(r)))
	}
	p.row(header...)
	for _, n := range s.Nodes {
		row := []any{n.Name, answerCell(n), gossipCell(n.Gossip), voterCell(n.Voter), n.Version}
		for _, r := range used.List() {
			i := slices.IndexFunc(n.Roles, func(rs local.RoleStatus) bool { return rs.Role == r })
			if i < 0 {
				row = append(row, "")
				continue
			}
			row = append(row, stateCell(n.Roles[i].State))
		}
		p.row(row...)
	}
	for _, n := range s.Nodes {
		if n.Error != "" {
			p.line("%s: %s", n.Name, n.Error)
		}
		for _, r := range n.Roles {
			if r.Detail != "" && r.State != local.StateRunning {
				p.line("%s %s: %s", n.Name, r.Role, r.Detail)
			}
		}
	}
}

// roleSet is the set of r, empty for a role that this kato does not know.
func roleSet(r node.Role) node.RoleSet {
	if _, ok := r.Info(); !ok {
		return 0
	}
	return node.NewRoleSet(r)
}

func answerCell(n local.NodeStatus) cell {
	if n.Reachable {
		return cell{"yes", green}
	}
	return cell{"no", red}
}
