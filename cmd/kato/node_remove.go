package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
)

func newNodeRemove(a *app) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "remove <node>…",
		Short: "Remove nodes that are gone from the cluster",
		Long: `Remove nodes from the cluster that do not come back: their certificates are
refused from then on. A node that still answers is refused: let it leave with
kato node detach --node NAME, or insist with --force.`,
		Example:           "  kato node remove n3\n  kato node remove 10.0.0.7 10.0.0.8 --yes",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeNodes,
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.confirm("Remove %s from the cluster?", strings.Join(args, ", ")); err != nil {
				return err
			}
			var removed []string
			for _, name := range args {
				err := a.during("removing "+name, func(p local.Progress) error {
					return a.client(c).NodeRemove(c.Context(), local.NodeRemoveRequest{Node: name, Force: force}, p)
				})
				if err != nil {
					return after(removed, err)
				}
				removed = append(removed, name)
			}
			out := map[string][]string{"removed": removed}
			return a.show(out, func(p *printer) { p.line("removed %s", strings.Join(removed, ", ")) })
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "remove also a node that answers, or at the price of quorum")
	return c
}
