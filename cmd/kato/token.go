package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
)

func newTokenCreate(a *app) *cobra.Command {
	var r local.TokenCreateRequest
	c := &cobra.Command{
		Use:   "create",
		Short: "Make a join token",
		Long: `Make a join token for kato node attach. It is shown this one time, alone on standard
output, so that it can be written to a file. Whoever has it can become a node of
the cluster: give it few roles, few uses and a short life.`,
		Example: "  kato token create > token\n  kato token create --roles dea,router --uses 5 --ttl 30m > token",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if r.TTL < 0 || r.Uses < 0 {
				return usageErrorf("", "--ttl and --uses cannot be negative")
			}
			roles, err := a.expandGroups(c, r.Roles)
			if err != nil {
				return err
			}
			r.Roles = roles
			t, err := a.client(c).TokenCreate(c.Context(), r)
			if err != nil {
				return err
			}
			if !a.json {
				fmt.Fprintf(a.err, "token %s: expires %s, %d %s, roles %s\n",
					t.ID, when(t.ExpiresAt), t.Uses, plural(t.Uses, "use"), list(t.Roles.List()))
			}
			return a.show(t, func(p *printer) { p.line("%s", t.Secret) })
		},
	}
	c.Flags().StringSliceVarP(&r.Roles, "roles", "e", nil, "roles or groups that the new node may have (default: any)")
	c.Flags().DurationVar(&r.TTL, "ttl", 0, "how long it is valid, such as 30m (default 1h)")
	c.Flags().IntVar(&r.Uses, "uses", 0, "how many nodes may join with it (default 1)")
	must(c.RegisterFlagCompletionFunc("roles", a.completeRoles))
	return c
}

func newTokenList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the join tokens, without their secrets",
		Example: "  kato token list",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			tokens, err := a.client(c).TokenList(c.Context())
			if err != nil {
				return err
			}
			return a.show(tokens, func(p *printer) {
				p.row("ID", "USES LEFT", "EXPIRES", "STATE", "ROLES")
				for _, t := range tokens {
					p.row(t.ID, t.Uses, when(t.ExpiresAt), tokenCell(t), list(t.Roles.List()))
				}
			})
		},
	}
}

func tokenCell(t local.Token) cell {
	switch {
	case t.Expired:
		return cell{"expired", yellow}
	case t.Uses == 0:
		return cell{"used up", yellow}
	}
	return cell{"valid", green}
}

func newTokenRevoke(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "revoke <id>…",
		Short:             "End join tokens at once",
		Long:              "End join tokens at once. Nodes that joined with them stay.",
		Example:           "  kato token list\n  kato token revoke 3f9a1c",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeTokens,
		RunE: func(c *cobra.Command, args []string) error {
			var revoked []string
			for _, id := range args {
				if err := a.client(c).TokenRevoke(c.Context(), id); err != nil {
					return after(revoked, err)
				}
				revoked = append(revoked, id)
			}
			out := map[string][]string{"revoked": revoked}
			return a.show(out, func(p *printer) { p.line("revoked %s", list(revoked)) })
		},
	}
}

// after tells in an error what was done before it.
func after(done []string, err error) error {
	if len(done) == 0 {
		return err
	}
	return fmt.Errorf("%w (done before: %s)", err, list(done))
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
