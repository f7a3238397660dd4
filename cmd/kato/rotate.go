package main

import (
	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
)

const rotateHelp = `Replace a key of the cluster while it runs. A rotation that stops half-way leaves a
working cluster: start it again.`

// rotateText says what each rotation does.
var rotateText = map[local.RotateWhat]struct{ short, long string }{
	local.RotateGossipKey: {
		"Replace the key that encrypts gossip",
		"Replace the key that encrypts gossip between nodes: the new key is given to every\nnode, then used, then the old one is removed.",
	},
	local.RotateCA: {
		"Replace the cluster's certificate authority",
		"Replace the cluster's certificate authority, with overlap: every node trusts both\nuntil each one has a certificate of the new one.",
	},
	local.RotateSealingKey: {
		"Replace the key that seals secrets in the replicated state",
		"Replace the key that seals secrets in the replicated state, and seal them anew.",
	},
}

func newRotate(a *app, what local.RotateWhat) *cobra.Command {
	text := rotateText[what]
	return &cobra.Command{
		Use:     string(what),
		Short:   text.short,
		Long:    text.long,
		Example: "  kato rotate " + string(what),
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var out local.RotateResult
			err := a.during("replacing the "+string(what), func(p local.Progress) (err error) {
				out, err = a.client(c).Rotate(c.Context(), what, p)
				return err
			})
			if err != nil {
				return err
			}
			a.warn(out.Warnings...)
			return a.show(out, func(p *printer) {
				p.field("new key", out.KeyID)
				p.field("nodes still without it", list(out.Pending))
				p.field("the old one holds until", when(out.OverlapUntil))
			})
		},
	}
}
