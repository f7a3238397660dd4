package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent/local"
)

const certificateHelp = `The certificates that routers show for domains of your own, by the name that the
client asks for (SNI): one for the exact name first, then a wildcard, then the
routers' own. They are kept sealed with the cluster's state, and every router has
a change within a second, without a restart. Run these on a controller.`

func newCertificateAdd(a *app) *cobra.Command {
	var r local.CertificateAddRequest
	var cert, key string
	c := &cobra.Command{
		Use:   "add <name> --cert FILE --key FILE",
		Short: "Give routers a certificate",
		Long: `Give routers a certificate. The file of the certificate has it first and then its
chain, each signed by the next; which hosts it is for stands in it. The key has no
passphrase. Certificate, key or both may be "-" for standard input: then the one
that is not in a file, never both.`,
		Example: "  kato certificate add shop --cert shop-chain.pem --key shop.key\n  kato certificate add shop --replace --cert new-chain.pem --key new.key",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if cert == "" || key == "" || cert == "-" && key == "-" {
				return usageErrorf("kato certificate add NAME --cert FILE --key FILE", "--cert and --key are needed, at most one from standard input")
			}
			var err error
			r.Name = args[0]
			if r.Cert, err = a.readPEM(cert); err != nil {
				return fmt.Errorf("the certificate: %w", err)
			}
			if r.Key, err = a.readPEM(key); err != nil {
				return fmt.Errorf("the key: %w", err)
			}
			defer clear(r.Key)
			out, err := a.client(c).CertificateAdd(c.Context(), r)
			if err != nil {
				return err
			}
			return a.show(out, func(p *printer) {
				p.line("certificate %s for %s, valid until %s", out.Name, list(out.Hosts), when(out.NotAfter))
			})
		},
	}
	c.Flags().StringVar(&cert, "cert", "", "file with the certificate and its chain, PEM")
	c.Flags().StringVar(&key, "key", "", "file with the key, PEM")
	c.Flags().BoolVar(&r.Replace, "replace", false, "put it in the place of one with this name")
	return c
}

// maxPEM is more than the cluster takes.
const maxPEM = 64 << 10

func (a *app) readPEM(file string) ([]byte, error) {
	in := a.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxPEM+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxPEM:
		return nil, fmt.Errorf("%s has more than %d bytes", file, maxPEM)
	case !bytes.Contains(text, []byte("-----BEGIN ")):
		return nil, errors.New(file + " is not in PEM form (openssl x509 -inform der, or openssl pkey -inform der, makes it so)")
	}
	return text, nil
}

func newCertificateList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the certificates of your own domains, and when they end",
		Example: "  kato certificate list\n  kato certificate list --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			certs, err := a.client(c).CertificateList(c.Context())
			if err != nil {
				return err
			}
			return a.show(certs, func(p *printer) {
				p.row("NAME", "EXPIRES", "STATE", "HOSTS")
				for _, s := range certs {
					p.row(s.Name, when(s.NotAfter), certificateCell(s.State), list(s.Hosts))
				}
			})
		},
	}
}

func certificateCell(s local.CertificateState) cell {
	switch s {
	case local.CertificateExpired:
		return cell{string(s), red}
	case local.CertificateSoon:
		return cell{string(s), yellow}
	}
	return cell{string(s), green}
}

func newCertificateRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "remove <name>…",
		Short:   "Take certificates away: routers show their own for these hosts again",
		Example: "  kato certificate remove shop",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var removed []string
			for _, name := range args {
				if err := a.client(c).CertificateRemove(c.Context(), name); err != nil {
					return after(removed, err)
				}
				removed = append(removed, name)
			}
			out := map[string][]string{"removed": removed}
			return a.show(out, func(p *printer) { p.line("removed %s", list(removed)) })
		},
	}
}
