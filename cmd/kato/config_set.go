package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
)

func newConfigSet(a *app) *cobra.Command {
	var r local.ConfigSetRequest
	var asString bool
	c := &cobra.Command{
		Use:   "set <key> <value|->",
		Short: "Change a setting",
		Long: `Change a setting. A value that is JSON (a number, true, a list, an object, a
quoted string) is taken as such; anything else is a string. "-" reads the value
from standard input: do that for what other users of this machine must not see.
A value of another type than before is refused unless --force.`,
		Example: `  kato config set cluster/max_client_upload_mb 1500
  kato config set cluster/allowed_repos '["deb http://deb.debian.org/debian bookworm main"]'
  kato config set cluster/support_email - < address
  kato config set cloud/certificates - < company-ca.pem`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeKeys,
		RunE: func(c *cobra.Command, args []string) error {
			text := args[1]
			if text == "-" {
				b, err := io.ReadAll(io.LimitReader(a.in, maxSecret))
				if err != nil {
					return fmt.Errorf("reading the value: %w", err)
				}
				text = strings.TrimSuffix(string(b), "\n")
			}
			r.Key, r.Value = args[0], jsonValue(text, asString)
			out, err := a.client(c).ConfigSet(c.Context(), r)
			if err != nil {
				return err
			}
			return a.show(out, func(p *printer) { p.line("%s set (%s)", out.Key, out.Type) })
		},
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		what, _, _ := strings.Cut(err.Error(), "\n") // the value may be long, such as a certificate
		return usageErrorf("give a value that begins with '-' on standard input: kato config set KEY - < FILE", "%s", what)
	})
	c.Flags().BoolVarP(&r.Force, "force", "f", false, "also if the type changes")
	c.Flags().BoolVar(&asString, "string", false, "take the value as a string even if it is JSON")
	return c
}

// jsonValue is text if it is JSON, else text as a JSON string.
func jsonValue(text string, asString bool) json.RawMessage {
	if !asString && json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	b, _ := json.Marshal(text) // a string: cannot fail
	return b
}
