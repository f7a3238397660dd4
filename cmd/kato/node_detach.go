package main

import (
	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
)

func newNodeDetach(a *app) *cobra.Command {
	var r local.LeaveRequest
	c := &cobra.Command{
		Use:   "detach",
		Short: "Take this node out of its cluster",
		Long: `Take this node out of its cluster, gracefully: a voter hands over first. Refused
when the cluster would lose its quorum or its last controller, unless --force.
For a node that is gone for good use kato node remove on another one.`,
		Example: "  kato node detach\n  kato node detach --node n3 --yes",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := a.confirm("Take %s out of its cluster?", a.target()); err != nil {
				return err
			}
			err := a.during("leaving the cluster", func(p local.Progress) error {
				return a.client(c).Leave(c.Context(), r, p)
			})
			if err != nil {
				return err
			}
			out := map[string]bool{"detached": true}
			return a.show(out, func(p *printer) { p.line("%s left the cluster", a.target()) })
		},
	}
	c.Flags().BoolVarP(&r.Force, "force", "f", false, "leave even if the cluster loses its quorum")
	return c
}

// target names the node that a command acts on, for people.
func (a *app) target() string {
	if a.node == "" {
		return "this node"
	}
	return "node " + a.node
}
