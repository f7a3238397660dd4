package main

import (
	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
)

func newInspect(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect [check]…",
		Short: "Let a node diagnose itself",
		Long: `Let a node diagnose itself: clock, disk, ports, Docker, versions, certificates,
quorum. Each finding comes with a remedy. The exit code is 1 when a check failed;
warnings alone are 0.

The check "apps" is the same on every node: it asks the Primary which apps do not
run as their developers asked, and why.`,
		Example: "  kato inspect\n  kato inspect clock disk --node n3\n  kato inspect apps --json",
		Args:    cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			var findings []local.Finding
			err := a.during("inspecting "+a.target(), func(p local.Progress) (err error) {
				findings, err = a.client(c).Inspect(c.Context(), args, p)
				return err
			})
			if err != nil {
				return err
			}
			if err := a.show(findings, func(p *printer) { printFindings(p, findings) }); err != nil {
				return err
			}
			for _, f := range findings {
				if f.Status == local.FindingFail {
					return errFound
				}
			}
			return nil
		},
	}
}

func printFindings(p *printer, findings []local.Finding) {
	p.row("CHECK", "STATUS", "FOUND")
	for _, f := range findings {
		colour := green
		switch f.Status {
		case local.FindingWarn:
			colour = yellow
		case local.FindingFail:
			colour = red
		}
		p.row(f.Check, cell{f.Status, colour}, f.Detail)
	}
	for _, f := range findings {
		if f.Status != local.FindingOK {
			p.line("→ %s: %s", f.Check, f.Remedy)
		}
	}
}
