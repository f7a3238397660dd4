package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/stackato/stackato/agent/node"
)

// NewKey makes a private key for a node: ECDSA P-256.
func NewKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// EncodeKey returns a private key as PEM (PKCS #8).
func EncodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParseKey reads a private key from PEM (PKCS #8): ECDSA P-256 or Ed25519.
// Errors never show the key.
func ParseKey(text []byte) (crypto.Signer, error) {
	der, err := decodePEM(text, "PRIVATE KEY", maxPEM)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("private key: not a PKCS #8 key")
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, errors.New("private key: it cannot sign")
	}
	if err := checkPublicKey(key.Public()); err != nil {
		return nil, err
	}
	return key, nil
}

// checkPublicKey accepts only what this package makes or that is as cheap
// and safe to verify.
func checkPublicKey(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return nil
		}
		return fmt.Errorf("key on curve %s: want ECDSA P-256 or Ed25519", k.Curve.Params().Name)
	case ed25519.PublicKey:
		return nil
	}
	return fmt.Errorf("key of type %T: want ECDSA P-256 or Ed25519", pub)
}

// CSR returns a certificate request as PEM that proves possession of key. The
// identity in it is for people: [Issue] takes every name from its Request.
func CSR(key crypto.Signer, id node.ID) ([]byte, error) {
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: string(id)}}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, fmt.Errorf("create certificate request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// ParseCSR checks a PEM certificate request: size, form, kind of key and its
// own signature. Names in it are not looked at.
func ParseCSR(text []byte) (*x509.CertificateRequest, error) {
	der, err := decodePEM(text, "CERTIFICATE REQUEST", maxCSR)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	if err := checkPublicKey(csr.PublicKey); err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certificate request: bad signature: %w", err)
	}
	return csr, nil
}

// TLSCertificate joins a node certificate, its key and the authority that
// signed it to what crypto/tls wants. The authority goes along in the
// handshake, because a joining node knows only its digest.
func TLSCertificate(certPEM, keyPEM []byte, issuer *x509.Certificate) (*tls.Certificate, error) {
	cert, err := ParseCert(certPEM)
	if err != nil {
		return nil, fmt.Errorf("node certificate: %w", err)
	}
	key, err := ParseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("node key: %w", err)
	}
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(cert.PublicKey) {
		return nil, errors.New("node key: it is not the key of the node certificate")
	}
	if err := cert.CheckSignatureFrom(issuer); err != nil {
		return nil, fmt.Errorf("node certificate: not signed by the given CA: %w", err)
	}
	return &tls.Certificate{
		Certificate: [][]byte{cert.Raw, issuer.Raw},
		PrivateKey:  key,
		Leaf:        cert,
	}, nil
}
