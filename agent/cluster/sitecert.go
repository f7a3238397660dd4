package cluster

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/wire/rpcerr"
)

// Bounds of the certificates of operators' own domains.
const (
	maxSiteCerts     = 200
	maxSiteCertBytes = 32 << 10 // of certificate and chain, and of the key
	maxSiteCertNames = 100
	maxSiteCertChain = 10
	minSiteKeyBits   = 2048 // RSA
)

// SiteCertificate is a certificate that routers show for domains of the
// operator's own. Its key is the secret [siteCertSecret].
type SiteCertificate struct {
	Name     string    `json:"name"`
	CertPEM  []byte    `json:"cert_pem"` // the leaf first, then its chain
	Hosts    []string  `json:"hosts"`    // lower case; "*.…" for a wildcard
	NotAfter time.Time `json:"not_after"`
	Version  uint64    `json:"version"` // grows with each change, from 1
	Modified time.Time `json:"modified"`
}

func siteCertSecret(name string) string { return "site-certificate/" + name }

type siteCertInput struct {
	Cert SiteCertificate `json:"cert"`
	// Key is sealed for [siteCertSecret].
	Key     Secret `json:"key"`
	Replace bool   `json:"replace"`
}

var (
	cmdSiteCertPut = &consensus.Command[siteCertInput, SiteCertificate]{Type: "cluster.site_cert_put", Version: 1}
	cmdSiteCertDel = &consensus.Command[string, struct{}]{Type: "cluster.site_cert_del", Version: 1}

	siteCertName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,62}$`)
	siteHost     = regexp.MustCompile(`^(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

func registerSiteCerts(r *consensus.Registry) {
	register(r, cmdSiteCertPut, applySiteCertPut)
	register(r, cmdSiteCertDel, applySiteCertDel)
}

// SiteCertificates returns the certificates of operators' domains, by name.
func SiteCertificates(r consensus.Reader) []SiteCertificate {
	return consensus.List[SiteCertificate](r, siteCertsTable, "id")
}

func applySiteCertPut(tx *consensus.Tx, in siteCertInput) (SiteCertificate, error) {
	c := in.Cert
	old, exists := consensus.Get[SiteCertificate](tx, siteCertsTable, "id", c.Name)
	all := SiteCertificates(tx)
	switch {
	case in.Key.ID != siteCertSecret(c.Name):
		return old, rpcerr.New(rpcerr.Invalid, "the key is sealed for another place")
	case exists && !in.Replace:
		return old, rpcerr.New(rpcerr.Conflict, "there is a certificate %s already", c.Name).WithHint("give --replace to put another in its place")
	case !exists && len(all) >= maxSiteCerts:
		return old, rpcerr.New(rpcerr.Exhausted, "there are %d certificates already", maxSiteCerts)
	}
	for _, other := range all {
		if other.Name == c.Name {
			continue
		}
		for _, h := range c.Hosts {
			if slices.Contains(other.Hosts, h) {
				return old, rpcerr.New(rpcerr.Conflict, "the certificate %s is for %s as well", other.Name, h).
					WithHint("replace that one (kato certificate add %s --replace …) or remove it first", other.Name)
			}
		}
	}
	c.Version = old.Version + 1
	if err := consensus.Put(tx, siteCertsTable, c); err != nil {
		return old, err
	}
	return c, putSecrets(tx, []Secret{in.Key})
}

func applySiteCertDel(tx *consensus.Tx, name string) (struct{}, error) {
	n, err := consensus.Delete(tx, siteCertsTable, "id", name)
	if err == nil && n == 0 {
		err = rpcerr.New(rpcerr.NotFound, "there is no certificate %.80q", name).WithHint("see: kato certificate list")
	}
	if err != nil {
		return struct{}{}, err
	}
	_, err = consensus.Delete(tx, secretsTable, "id", siteCertSecret(name))
	return struct{}{}, err
}

// PutSiteCertificate checks a certificate with its chain and key, PEM, and
// keeps it for the routers. Errors never show the key.
func (c *Controller) PutSiteCertificate(ctx context.Context, name string, cert, key []byte, replace bool) (SiteCertificate, error) {
	out, err := readSiteCertificate(name, cert, key, c.cfg.Now())
	if err != nil {
		return out, err
	}
	return cmdSiteCertPut.Propose(ctx, c.cons, siteCertInput{Cert: out, Key: c.sealed(siteCertSecret(name), key), Replace: replace})
}

// DelSiteCertificate removes one: routers show their own for its names again.
func (c *Controller) DelSiteCertificate(ctx context.Context, name string) error {
	_, err := cmdSiteCertDel.Propose(ctx, c.cons, name)
	return err
}

// ListSiteCertificates returns them by name, without keys.
func (c *Controller) ListSiteCertificates(ctx context.Context) ([]SiteCertificate, error) {
	v, err := c.read(ctx)
	if err != nil {
		return nil, err
	}
	return SiteCertificates(v), nil
}

// readSiteCertificate refuses what routers could not show.
func readSiteCertificate(name string, cert, key []byte, now time.Time) (SiteCertificate, error) {
	out := SiteCertificate{Name: name, CertPEM: cert, Modified: now}
	if !siteCertName.MatchString(name) {
		return out, rpcerr.New(rpcerr.Invalid, "certificate name %.80q: use a-z, 0-9, '_', '.' and '-', at most 63", name)
	}
	if len(cert) > maxSiteCertBytes || len(key) > maxSiteCertBytes {
		return out, rpcerr.New(rpcerr.Exhausted, "certificate and key may have %d bytes each", maxSiteCertBytes)
	}
	chain, err := parseChain(cert)
	if err != nil {
		return out, rpcerr.New(rpcerr.Invalid, "certificate: %v", err)
	}
	if err := oneKey(key); err != nil {
		return out, rpcerr.New(rpcerr.Invalid, "key: %v", err)
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return out, rpcerr.New(rpcerr.Invalid, "the key does not belong to the certificate, or is of no kind that routers use").
			WithHint("RSA, ECDSA and Ed25519 keys without a passphrase are taken; the certificate itself stands first in its file")
	}
	leaf := chain[0]
	out.NotAfter = leaf.NotAfter
	switch rsaKey, isRSA := leaf.PublicKey.(*rsa.PublicKey); {
	case now.After(leaf.NotAfter):
		return out, rpcerr.New(rpcerr.Invalid, "the certificate ended on %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return out, rpcerr.New(rpcerr.Invalid, "the certificate is not valid before %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	case isRSA && rsaKey.N.BitLen() < minSiteKeyBits:
		return out, rpcerr.New(rpcerr.Invalid, "the key has %d bits; clients want %d and more", rsaKey.N.BitLen(), minSiteKeyBits)
	case !forServers(leaf):
		return out, rpcerr.New(rpcerr.Invalid, "the certificate is not for servers (extended key usage)")
	}
	out.Hosts, err = siteHosts(leaf)
	return out, err
}

// parseChain reads a leaf and what signed it, in that order.
func parseChain(text []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a %.40q stands among the certificates", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if chain = append(chain, c); len(chain) > maxSiteCertChain {
			return nil, fmt.Errorf("more than %d certificates in the chain", maxSiteCertChain)
		}
	}
	if len(chain) == 0 {
		return nil, errors.New("no certificate in PEM form")
	}
	for i, c := range chain[:len(chain)-1] {
		if err := c.CheckSignatureFrom(chain[i+1]); err != nil {
			return nil, fmt.Errorf("the chain is not in order: number %d (%.60s) was not signed by number %d (%.60s)",
				i+1, c.Subject, i+2, chain[i+1].Subject)
		}
	}
	return chain, nil
}

// oneKey makes sure that nothing but a key is kept.
func oneKey(text []byte) error {
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return errors.New("no key in PEM form")
	case !strings.HasSuffix(block.Type, "PRIVATE KEY"):
		if block.Type == "EC PARAMETERS" {
			return errors.New("begins with EC PARAMETERS: leave that block out")
		}
		return fmt.Errorf("a %.40q is no key", block.Type)
	case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
		return errors.New("it has a passphrase: take that away first (openssl pkey)")
	case len(bytes.TrimSpace(rest)) > 0:
		return errors.New("something follows the key in its file")
	}
	return nil
}

func forServers(c *x509.Certificate) bool {
	return len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 ||
		slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// siteHosts are the names that a certificate is for.
func siteHosts(leaf *x509.Certificate) ([]string, error) {
	var out []string
	for _, n := range leaf.DNSNames {
		n = strings.ToLower(strings.TrimSuffix(n, "."))
		if len(n) > 253 || !siteHost.MatchString(n) {
			return nil, rpcerr.New(rpcerr.Invalid, "the certificate is for %.80q, which is no host name", n)
		}
		out = append(out, n)
	}
	slices.Sort(out)
	out = slices.Compact(out)
	switch {
	case len(out) == 0:
		return nil, rpcerr.New(rpcerr.Invalid, "the certificate names no hosts").
			WithHint("clients look at the subject alternative names, not at the common name")
	case len(out) > maxSiteCertNames:
		return nil, rpcerr.New(rpcerr.Invalid, "the certificate names %d hosts, at most %d are taken", len(out), maxSiteCertNames)
	}
	return out, nil
}
