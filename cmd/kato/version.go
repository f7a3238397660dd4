package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/internal/buildinfo"
)

// versionView is kato's own release and what runs on the node.
type versionView struct {
	Kato  string         `json:"kato"`
	Agent *local.Version `json:"agent"` // null if the agent does not answer
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show the releases of kato and of this node",
		Example: "  kato version",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			out := versionView{Kato: buildinfo.Version}
			v, err := a.client(c).Version(c.Context())
			var e *local.Error
			switch {
			case err == nil:
				out.Agent = &v
			case a.node == "" && errors.As(err, &e): // kato's own version needs nobody
				a.warn(e.Message + ": " + e.ErrHint)
			default:
				return err
			}
			return a.show(out, func(p *printer) {
				p.field("kato", out.Kato)
				if out.Agent != nil {
					printVersion(p, *out.Agent)
				}
			})
		},
	}
}

func printVersion(p *printer, v local.Version) {
	p.field("stackato-agent", v.Agent)
	p.field("consul", orDash(v.Consul))
	p.field("nomad", orDash(v.Nomad))
	p.field("docker", orDash(v.Docker))
	p.field("go", v.Go)
}
