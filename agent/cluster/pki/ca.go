package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"regexp"
	"time"
)

// Kind says what an authority signs.
type Kind string

// The kinds of authority. They are apart so that whoever holds the
// app-facing one can never make a node.
const (
	ClusterCA Kind = "cluster" // node certificates
	RouterCA  Kind = "router"  // app-facing certificates
)

var clusterIDPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// CA is a certificate authority with its key. It is read-only after it is
// made and safe for concurrent use. Printing it shows no key.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes an authority of the cluster that is valid for [CALifetime].
// clusterID is 1 to 63 of a-z, 0-9 and -.
func NewCA(clusterID string, kind Kind, now time.Time) (*CA, error) {
	if !clusterIDPattern.MatchString(clusterID) {
		return nil, fmt.Errorf("cluster id %.70q: want 1 to 63 of a-z, 0-9 and -", clusterID)
	}
	if kind != ClusterCA && kind != RouterCA {
		return nil, fmt.Errorf("unknown kind of certificate authority %q", kind)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject: pkix.Name{
			Organization:       []string{"Stackato"},
			OrganizationalUnit: []string{string(kind)},
			// The serial makes two authorities of one cluster differ by name:
			// some verifiers pick the issuer by its name.
			CommonName: fmt.Sprintf("%s %s CA %s", clusterID, kind, serial.Text(16)[:8]),
		},
		NotBefore:             now.Add(-caBackDate).UTC(),
		NotAfter:              now.Add(CALifetime).UTC(),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: clusterID}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("create %s CA: %w", kind, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &CA{cert: cert, key: key}, nil
}

// ParseCA reads an authority from the PEM texts of [CA.CertPEM] and
// [CA.KeyPEM]. Errors never show the key.
func ParseCA(certPEM, keyPEM []byte) (*CA, error) {
	cert, err := ParseCert(certPEM)
	if err != nil {
		return nil, fmt.Errorf("CA certificate: %w", err)
	}
	if !cert.IsCA {
		return nil, errors.New("CA certificate: it is not an authority")
	}
	key, err := ParseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("CA key: %w", err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok || !ec.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("CA key: it is not the key of the CA certificate")
	}
	return &CA{cert: cert, key: ec}, nil
}

// Cert returns the authority's certificate. Do not change it.
func (ca *CA) Cert() *x509.Certificate { return ca.cert }

// CertPEM returns the certificate as PEM.
func (ca *CA) CertPEM() []byte { return EncodeCert(ca.cert) }

// KeyPEM returns the private key as PEM (PKCS #8). It is a secret: seal it
// before it leaves the process.
func (ca *CA) KeyPEM() []byte {
	out, err := EncodeKey(ca.key)
	if err != nil {
		panic("pki: a P-256 key cannot be encoded: " + err.Error()) // cannot happen
	}
	return out
}

// ClusterID returns the cluster that the authority belongs to.
func (ca *CA) ClusterID() string { return caClusterID(ca.cert) }

// Kind returns what the authority signs.
func (ca *CA) Kind() Kind { return caKind(ca.cert) }

// Digest returns the digest of the authority's public key, see [Digest].
func (ca *CA) Digest() string { return Digest(ca.cert) }

// String names the authority without its key.
func (ca *CA) String() string { return ca.cert.Subject.CommonName }

// GoString hides the key from %#v.
func (ca *CA) GoString() string { return "pki.CA(" + ca.String() + ")" }

func caClusterID(cert *x509.Certificate) string {
	if len(cert.URIs) == 1 && cert.URIs[0].Scheme == "spiffe" {
		return cert.URIs[0].Host
	}
	return ""
}

func caKind(cert *x509.Certificate) Kind {
	if ou := cert.Subject.OrganizationalUnit; len(ou) == 1 {
		return Kind(ou[0])
	}
	return ""
}

// Digest is the fingerprint of a certificate's public key that join tokens
// carry: "sha256:" and the SHA-256 of its SubjectPublicKeyInfo in hex.
func Digest(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// EncodeCert returns a certificate as PEM.
func EncodeCert(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

// ParseCert reads exactly one PEM certificate.
func ParseCert(text []byte) (*x509.Certificate, error) {
	b, err := ParseBundle(text)
	if err != nil {
		return nil, err
	}
	if len(b) != 1 {
		return nil, fmt.Errorf("want one certificate, found %d", len(b))
	}
	return b[0], nil
}

// decodePEM reads exactly one block of the wanted type.
func decodePEM(text []byte, typ string, limit int) ([]byte, error) {
	if len(text) > limit {
		return nil, fmt.Errorf("PEM text has %d bytes, allowed are %d", len(text), limit)
	}
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, errors.New("no PEM block found")
	case block.Type != typ:
		return nil, fmt.Errorf("PEM block is a %.40q, want %q", block.Type, typ)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("text after the PEM block")
	}
	return block.Bytes, nil
}

// newSerial returns 127 random bits, positive as RFC 5280 wants.
func newSerial() (*big.Int, error) {
	limit := new(big.Int).Lsh(big.NewInt(1), 126)
	n, err := rand.Int(rand.Reader, limit)
	if err != nil {
		return nil, err
	}
	return n.Add(n, limit), nil
}
