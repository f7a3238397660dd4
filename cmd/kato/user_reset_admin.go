package main

import "github.com/spf13/cobra"

func newUserResetAdmin(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "reset-admin",
		Short: "Give the administrator a new password",
		Long: `Give the first administrator a new random password and print it. The old one ends
at once. The new one is also kept in a file that only root can read.`,
		Example: "  kato user reset-admin",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			out, err := a.client(c).UserResetAdmin(c.Context())
			if err != nil {
				return err
			}
			return a.show(out, func(p *printer) {
				p.field("user", out.Username)
				p.field("password", out.Password)
			})
		},
	}
}
