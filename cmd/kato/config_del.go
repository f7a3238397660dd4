package main

import "github.com/spf13/cobra"

func newConfigDel(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "del <key>",
		Short:             "Remove a setting: its default holds again",
		Example:           "  kato config del cluster/max_client_upload_mb",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeKeys,
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.client(c).ConfigDel(c.Context(), args[0]); err != nil {
				return err
			}
			out := map[string]string{"deleted": args[0]}
			return a.show(out, func(p *printer) { p.line("%s deleted", args[0]) })
		},
	}
}
