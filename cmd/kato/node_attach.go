package main

import (
	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
)

func newNodeAttach(a *app) *cobra.Command {
	var (
		r    local.JoinRequest
		file string
	)
	c := &cobra.Command{
		Use:   "attach <primary>…",
		Short: "Make this machine a node of an existing cluster",
		Long: `Make this machine a node of an existing cluster. <primary> is any controller of
that cluster: an address, a DNS name, or a cloud auto-join string such as
"provider=aws tag_key=stackato tag_value=prod"; several are tried in order.

The join token comes from kato token create on a node of the cluster. It is a
secret: it is read from a file or from standard input, never from the command
line. On a terminal it is asked for.`,
		Example: `  kato token create --roles dea > token            # on a node of the cluster
  kato node attach 10.0.0.1 --token-file token --roles dea --zone eu-1b
  ssh n1 kato token create | kato node attach n1.example.com --token-file -`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			token, err := a.readSecret(file, "join token")
			if err != nil {
				return err
			}
			r.Primaries, r.Token = args, token
			return a.attach(c, r)
		},
	}
	f := c.Flags()
	f.StringVar(&file, "token-file", "", `file with the join token, "-" for standard input`)
	f.StringSliceVarP(&r.Roles, "roles", "e", nil, "roles or groups of this node (default: base alone)")
	f.StringVar(&r.Name, "name", "", "name of the node, a DNS label (default: the host name)")
	f.StringVar(&r.Advertise, "advertise", "", "IPv4 address at which other nodes reach this one")
	f.StringVar(&r.Zone, "zone", "", "availability zone")
	f.BoolVarP(&r.NoStart, "no-start", "s", false, "assign the roles but do not start them")
	must(c.RegisterFlagCompletionFunc("roles", a.completeRoles))
	return c
}

func (a *app) attach(c *cobra.Command, r local.JoinRequest) error {
	var out local.JoinResult
	err := a.during("joining the cluster", func(p local.Progress) (err error) {
		out, err = a.client(c).Join(c.Context(), r, p)
		return err
	})
	if err != nil {
		return err
	}
	a.warn(out.Warnings...)
	return a.show(out, func(p *printer) {
		p.field("node", out.Node)
		p.field("cluster", out.ClusterID)
		p.field("primary", out.Primary)
		p.field("roles", list(out.Roles.List()))
	})
}
