package main

import (
	"encoding/json"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
)

func newToken(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Make, list and revoke join tokens (on a controller)"}
	cmd.AddCommand(newTokenCreate(o), newTokenList(o), newTokenRevoke(o))
	return cmd
}

// client returns the API of the running daemon.
func (o *options) client(command string) (*local.Client, error) {
	cfg, err := o.load()
	if err != nil {
		return nil, err
	}
	return local.NewClient(cfg.SocketPath()).ForCommand("stackato-agent " + command), nil
}

func newTokenCreate(o *options) *cobra.Command {
	var req local.TokenCreateRequest
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a join token and print it, once",
		Example: `  stackato-agent token create > token                     # one node, any role but controller, 1 hour
  stackato-agent token create --roles controller,dea --uses 2 --ttl 15m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.client("token create")
			if err != nil {
				return err
			}
			t, err := c.TokenCreate(cmd.Context(), req)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(t)
			}
			fmt.Println(t.Secret)
			fmt.Fprintf(os.Stderr, "good for %d node(s) with roles among %s, until %s\n", t.Uses, t.Roles, t.ExpiresAt.Local().Format(time.DateTime))
			return nil
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&req.Roles, "roles", nil, "roles or groups that the token allows (default: all but controller)")
	f.DurationVar(&req.TTL, "ttl", time.Hour, "how long it is good for")
	f.IntVar(&req.Uses, "uses", 1, "how many nodes may join with it")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newTokenList(o *options) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the join tokens, without their secrets", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.client("token list")
			if err != nil {
				return err
			}
			list, err := c.TokenList(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(list)
			}
			w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tUSES LEFT\tEXPIRES\tROLES")
			for _, t := range list {
				expires := t.ExpiresAt.Local().Format(time.DateTime)
				if t.Expired {
					expires = "ended"
				}
				fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", t.ID, t.Uses, expires, t.Roles)
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newTokenRevoke(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID", Short: "End a join token at once", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.client("token revoke")
			if err != nil {
				return err
			}
			return c.TokenRevoke(cmd.Context(), args[0])
		},
	}
}
