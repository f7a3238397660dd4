package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/internal/atomicfile"
)

func newExportSealingKeys(a *app) *cobra.Command {
	var passphraseFile string
	c := &cobra.Command{
		Use:   "sealing-keys <file>",
		Short: "Write the keys that seal secrets into a file, under a passphrase",
		Long: `Write the keys that seal secrets in the replicated state into a new file. Without
them a copy of the state is of no use. The file is encrypted under a passphrase of
at least 12 bytes, which is read from a file or from standard input, never from the
command line; on a terminal it is asked for. Run it on a controller, and again after
kato rotate sealing-key. Keep file and passphrase apart.`,
		Example: `  kato export sealing-keys sealing-keys.json --passphrase-file passphrase
  pass show stackato | kato export sealing-keys sealing-keys.json --passphrase-file -`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := os.Lstat(args[0]); !errors.Is(err, fs.ErrNotExist) {
				return usageErrorf("name a new file", "%s is there already", args[0])
			}
			if passphraseFile == "" && !terminal(a.in) {
				return usageErrorf("give it with --passphrase-file FILE, or --passphrase-file - and standard input", "the passphrase is missing")
			}
			passphrase, err := a.readSecret(passphraseFile, "passphrase")
			if err != nil {
				return err
			}
			out, err := a.client(c).ExportSealingKeys(c.Context(), local.KeyExportRequest{Passphrase: []byte(passphrase)})
			if err != nil {
				return err
			}
			if err := atomicfile.Write(args[0], out.Data, 0o600); err != nil {
				return fmt.Errorf("the keys are not saved: %w", err)
			}
			shown := struct {
				File string   `json:"file"`
				Keys []string `json:"keys"`
			}{args[0], out.Keys}
			return a.show(shown, func(p *printer) {
				p.field("file", shown.File)
				p.field("keys", list(shown.Keys))
			})
		},
	}
	c.Flags().StringVar(&passphraseFile, "passphrase-file", "", `file with the passphrase, "-" for standard input`)
	return c
}
