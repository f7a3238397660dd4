package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
)

// maxBundle is how many certificates a bundle may hold. More than two or
// three authorities at once means that a rotation was never finished.
const maxBundle = 16

// Bundle is the list of authorities that are trusted now, newest first. In a
// rotation it holds the old and the new one until every node has a new
// certificate. It is a value: methods return new bundles.
type Bundle []*x509.Certificate

// ParseBundle reads PEM certificates and sorts them newest first. Text
// between them is ignored, as is usual in such files; a block of another
// kind (a key!) is an error.
func ParseBundle(text []byte) (Bundle, error) {
	if len(text) > maxPEM {
		return nil, fmt.Errorf("PEM text has %d bytes, allowed are %d", len(text), maxPEM)
	}
	var out Bundle
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("PEM block is a %.40q, want \"CERTIFICATE\"", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, cert)
		if len(out) > maxBundle {
			return nil, fmt.Errorf("more than %d certificates", maxBundle)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no PEM certificate found")
	}
	out.sort()
	return out, nil
}

// Encode returns the certificates as PEM, newest first.
func (b Bundle) Encode() []byte {
	var out bytes.Buffer
	for _, c := range b {
		out.Write(EncodeCert(c))
	}
	return out.Bytes()
}

// With returns the bundle with cert added, if it is not there already.
func (b Bundle) With(cert *x509.Certificate) Bundle {
	out := slices.Clone(b)
	if !slices.ContainsFunc(out, cert.Equal) {
		out = append(out, cert)
	}
	out.sort()
	return out
}

// Without returns the bundle without the authority of the given [Digest].
func (b Bundle) Without(digest string) Bundle {
	return slices.DeleteFunc(slices.Clone(b), func(c *x509.Certificate) bool { return Digest(c) == digest })
}

// ByDigest returns the authority with the given [Digest].
func (b Bundle) ByDigest(digest string) (*x509.Certificate, bool) {
	i := slices.IndexFunc(b, func(c *x509.Certificate) bool { return Digest(c) == digest })
	if i < 0 {
		return nil, false
	}
	return b[i], true
}

// IssuerOf returns the authority that signed cert.
func (b Bundle) IssuerOf(cert *x509.Certificate) (*x509.Certificate, bool) {
	i := slices.IndexFunc(b, func(c *x509.Certificate) bool { return cert.CheckSignatureFrom(c) == nil })
	if i < 0 {
		return nil, false
	}
	return b[i], true
}

// sort orders newest first; equal times by their bytes, so that every node
// has the same order.
func (b Bundle) sort() {
	slices.SortFunc(b, func(x, y *x509.Certificate) int {
		if c := y.NotBefore.Compare(x.NotBefore); c != 0 {
			return c
		}
		return bytes.Compare(x.Raw, y.Raw)
	})
}
