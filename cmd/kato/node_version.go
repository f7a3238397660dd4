package main

import "github.com/spf13/cobra"

func newNodeVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "version [node]",
		Short:             "Show the releases on a node",
		Example:           "  kato node version\n  kato node version n3",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: onlyFirst(a.completeNodes),
		RunE: func(c *cobra.Command, args []string) error {
			l := a.client(c)
			if len(args) == 1 {
				l = l.OnNode(args[0])
			}
			v, err := l.Version(c.Context())
			if err != nil {
				return err
			}
			return a.show(v, func(p *printer) { printVersion(p, v) })
		},
	}
}
