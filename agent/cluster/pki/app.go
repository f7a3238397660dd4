package pki

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"time"
)

// IssueApp signs an app-facing certificate for the key in csr and returns it
// as PEM: it names hosts, such as "*.example.com", and no node. Only a
// [RouterCA] signs these.
func IssueApp(ca *CA, csr []byte, hosts []string, now time.Time, lifetime time.Duration) ([]byte, error) {
	if ca.Kind() != RouterCA {
		return nil, fmt.Errorf("app-facing certificates are signed by the %s CA, not the %s CA", RouterCA, ca.Kind())
	}
	if len(hosts) == 0 {
		return nil, errors.New("an app-facing certificate names at least one host")
	}
	parsed, err := ParseCSR(csr)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	end := now.Add(lifetime)
	if end.After(ca.cert.NotAfter) {
		end = ca.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"Stackato"}, CommonName: hosts[0]},
		NotBefore:             now.Add(-BackDate).UTC(),
		NotAfter:              end.UTC(),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:              hosts,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, parsed.PublicKey, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", hosts[0], err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return EncodeCert(cert), nil
}
