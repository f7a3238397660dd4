package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
)

const configHelp = `The replicated settings of the cluster: flat keys such as
cluster/max_client_upload_mb with JSON values. A change reaches every node at once.`

func newConfigGet(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "get [key|prefix]",
		Short: "Show settings",
		Long: `Show one setting's value, or with a prefix (or nothing) a table of all settings
below it. Defaults are shown too.`,
		Example:           "  kato config get\n  kato config get cluster\n  kato config get cluster/max_client_upload_mb",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeKeys,
		RunE: func(c *cobra.Command, args []string) error {
			prefix := ""
			if len(args) == 1 {
				prefix = args[0]
			}
			entries, err := a.client(c).ConfigList(c.Context(), prefix)
			if err != nil {
				return err
			}
			if len(entries) == 0 && prefix != "" {
				return local.Errorf(local.CodeNotFound, "kato config get shows all", "there is no setting %q", prefix)
			}
			if len(entries) == 1 && entries[0].Key == prefix {
				return a.show(entries[0], func(p *printer) { p.line("%s", valueText(entries[0].Value)) })
			}
			return a.show(entries, func(p *printer) {
				p.row("KEY", "VALUE", "SET", "DESCRIPTION")
				for _, e := range entries {
					p.row(e.Key, string(e.Value), yesNo(e.Set), e.Description)
				}
			})
		},
	}
}

// valueText shows a string as it is and everything else as JSON.
func valueText(v json.RawMessage) string {
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s
	}
	return string(v)
}
