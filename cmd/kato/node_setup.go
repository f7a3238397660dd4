package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
)

// setupFlags adds what both kinds of setup have.
func (a *app) setupFlags(c *cobra.Command, r *local.InitRequest) {
	f := c.Flags()
	f.StringVar(&r.Name, "name", "", "name of the node, a DNS label (default: the host name)")
	f.StringVar(&r.Advertise, "advertise", "", "IPv4 address at which other nodes reach this one")
	f.StringVar(&r.Zone, "zone", "", "availability zone")
	f.BoolVarP(&r.NoStart, "no-start", "s", false, "assign the roles but do not start them")
}

func newNodeSetupCore(a *app) *cobra.Command {
	var r local.InitRequest
	c := &cobra.Command{
		Use:   "core [endpoint]",
		Short: "Make this machine the first node of a cluster",
		Long: `Make this machine the first node of a new cluster, with the roles controller and
router. Further roles follow with kato role add, further nodes with kato token
create here and kato node attach there. The endpoint is the name under which the
cluster is reached, such as api.example.com; apps get names beside it.

A machine that already has a cluster's data refuses.`,
		Example: "  kato node setup core api.example.com\n  kato node setup core --roles dea,data-services --zone eu-1a",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				r.Domain = strings.TrimPrefix(args[0], "api.")
			}
			return a.setup(c, r)
		},
	}
	a.setupFlags(c, &r)
	c.Flags().StringSliceVarP(&r.Roles, "roles", "e", nil, "roles or groups beside core")
	must(c.RegisterFlagCompletionFunc("roles", a.completeRoles))
	return c
}

func newNodeSetupMicro(a *app) *cobra.Command {
	var r local.InitRequest
	c := &cobra.Command{
		Use:   "micro [role…]",
		Short: "Make this machine a micro cloud: everything on one node",
		Long: `Make this machine a micro cloud: a cluster of one node with everything that apps
need. Named roles or groups are added to the group micro.`,
		Example:           "  kato node setup micro\n  kato node setup micro redis --domain cloud.example.com",
		ValidArgsFunction: a.completeRoles,
		RunE: func(c *cobra.Command, args []string) error {
			r.Micro, r.Roles = true, args
			return a.setup(c, r)
		},
	}
	a.setupFlags(c, &r)
	c.Flags().StringVar(&r.Domain, "domain", "", "domain of the cluster (default stackato.localhost)")
	return c
}

func (a *app) setup(c *cobra.Command, r local.InitRequest) error {
	var out local.InitResult
	err := a.during("setting up the cluster", func(p local.Progress) (err error) {
		out, err = a.client(c).Init(c.Context(), r, p)
		return err
	})
	if err != nil {
		return err
	}
	a.warn(out.Warnings...)
	return a.show(out, func(p *printer) {
		p.field("node", out.Node)
		p.field("cluster", out.ClusterID)
		if out.Admin != nil {
			p.field("user", out.Admin.Username)
			p.field("password", out.Admin.Password)
			p.field("kept in", out.AdminFile)
		}
		p.line("Next: kato status, and kato token create for each further node.")
	})
}
