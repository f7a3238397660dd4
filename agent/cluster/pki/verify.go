package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/stackato/stackato/agent/node"
)

// Why a certificate is refused. [Verify] wraps them with details.
var (
	// ErrOtherCluster: not signed by one of our authorities, or naming
	// another cluster.
	ErrOtherCluster = errors.New("the certificate is of another cluster")
	// ErrExpired: the node must renew it.
	ErrExpired = errors.New("the certificate has expired")
	// ErrNotYetValid: one of the two clocks is wrong.
	ErrNotYetValid = errors.New("the certificate is not valid yet")
	// ErrNoIdentity: no certificate, or one that names no node.
	ErrNoIdentity = errors.New("the certificate names no node")
)

// Identity is what a verified certificate says.
type Identity struct {
	ID        node.ID
	ClusterID string
	Expired   bool   // only with [Options.AllowExpired]
	Serial    string // hex
	NotBefore time.Time
	NotAfter  time.Time
	DNSNames  []string
	Issuer    string // [Digest] of the authority that signed it
}

// Options change [Verify].
type Options struct {
	// AllowExpired accepts a certificate after its end and says so in the
	// Identity: the signature is then checked as of its last moment.
	AllowExpired bool
}

// Verify checks the certificate that a peer presented (chain[0]; the rest is
// ignored, because authorities sign nodes directly) against the authorities
// that are trusted now, and says which node it names. Whether that node still
// belongs to the cluster is not a question for certificates.
func Verify(chain, roots []*x509.Certificate, clusterID string, now time.Time, opts Options) (Identity, error) {
	if len(chain) == 0 {
		return Identity{}, fmt.Errorf("%w: none was presented", ErrNoIdentity)
	}
	leaf := chain[0]
	issuer, err := verifySignature(leaf, roots, now)
	if err != nil {
		return Identity{}, err
	}
	id, err := identityOf(leaf, clusterID)
	if err != nil {
		return Identity{}, err
	}
	out := Identity{
		ID:        id,
		ClusterID: clusterID,
		Serial:    leaf.SerialNumber.Text(16),
		NotBefore: leaf.NotBefore,
		NotAfter:  leaf.NotAfter,
		DNSNames:  slices.Clone(leaf.DNSNames),
		Issuer:    Digest(issuer),
	}
	switch {
	case now.Before(leaf.NotBefore):
		return Identity{}, fmt.Errorf("%w: node %s, from %s, now is %s: check the clocks of both nodes",
			ErrNotYetValid, id, leaf.NotBefore.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case now.After(leaf.NotAfter):
		if !opts.AllowExpired {
			return Identity{}, fmt.Errorf("%w: node %s, on %s, now is %s",
				ErrExpired, id, leaf.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		}
		out.Expired = true
	}
	return out, nil
}

// verifySignature finds the authority that signed leaf, judged at the moment
// of the leaf's validity that is nearest to now.
func verifySignature(leaf *x509.Certificate, roots []*x509.Certificate, now time.Time) (*x509.Certificate, error) {
	at := now
	if at.Before(leaf.NotBefore) {
		at = leaf.NotBefore
	}
	if at.After(leaf.NotAfter) {
		at = leaf.NotAfter
	}
	pool := x509.NewCertPool()
	for _, r := range roots {
		if caKind(r) == ClusterCA {
			pool.AddCert(r)
		}
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots:         pool,
		Intermediates: x509.NewCertPool(),
		CurrentTime:   at,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return nil, fmt.Errorf("%w: it is the CA's: renew it with: kato rotate ca", ErrExpired)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrOtherCluster, err)
	}
	if leaf.IsCA || len(chains[0]) != 2 {
		return nil, fmt.Errorf("%w: it is an authority's", ErrNoIdentity)
	}
	return chains[0][1], nil
}

// identityURI is the name of a node in certificates.
func identityURI(clusterID string, id node.ID) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: clusterID, Path: "/node/" + string(id)}
}

// identityOf reads the one URI of a node certificate.
func identityOf(leaf *x509.Certificate, clusterID string) (node.ID, error) {
	if len(leaf.URIs) != 1 || leaf.URIs[0].Scheme != "spiffe" {
		return "", fmt.Errorf("%w: want one spiffe:// URI", ErrNoIdentity)
	}
	uri := leaf.URIs[0]
	if uri.Host != clusterID {
		return "", fmt.Errorf("%w: of %.70q, this is %q", ErrOtherCluster, uri.Host, clusterID)
	}
	text, ok := strings.CutPrefix(uri.Path, "/node/")
	if !ok {
		return "", fmt.Errorf("%w: %.120q", ErrNoIdentity, uri.String())
	}
	id, err := node.ParseID(text)
	if err != nil || uri.String() != identityURI(clusterID, id).String() {
		return "", fmt.Errorf("%w: %.120q", ErrNoIdentity, uri.String())
	}
	return id, nil
}

// Names returns the node that a certificate names which was verified before,
// such as that of an open connection. It proves nothing by itself.
func Names(verified *x509.Certificate, clusterID string) (node.ID, error) {
	return identityOf(verified, clusterID)
}

// ClusterIDOf returns the cluster that an authority's certificate belongs to,
// "" if it names none. It proves nothing: a joining node calls it after it
// has compared the [Digest].
func ClusterIDOf(ca *x509.Certificate) string {
	if !ca.IsCA {
		return ""
	}
	return caClusterID(ca)
}
