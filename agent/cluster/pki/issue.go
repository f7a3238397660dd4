package pki

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/stackato/stackato/agent/node"
)

// DNS names that Consul and Nomad look for in each other's certificates
// (verify_server_hostname of both). A node has a server name only while its
// role says so: who has it can act as a server.
const (
	ConsulServerName = "server.dc1.consul"
	NomadServerName  = "server.global.nomad"
	NomadClientName  = "client.global.nomad"
)

// Request says what a node certificate shall contain. Everything comes from
// the cluster's own records, nothing from the node's certificate request.
type Request struct {
	ID           node.ID
	Name         string     // node name; the certificate gets <Name>.node
	Address      netip.Addr // the node's cluster address
	ConsulServer bool       // adds [ConsulServerName]
	NomadServer  bool       // adds [NomadServerName]
	NomadClient  bool       // adds [NomadClientName]
	Now          time.Time
	Lifetime     time.Duration // from Now; [Lifetime] if zero
}

// Issue signs a node certificate for the key in csr and returns it as PEM.
// The certificate is dated back by [BackDate] and never outlives the CA. It
// is valid for loopback too, so that the local nomad and consul tools work.
func Issue(ca *CA, csr []byte, r Request) ([]byte, error) {
	if ca.Kind() != ClusterCA {
		return nil, fmt.Errorf("node certificates are signed by the %s CA, not the %s CA", ClusterCA, ca.Kind())
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	parsed, err := ParseCSR(csr)
	if err != nil {
		return nil, err
	}
	if r.Now.Before(ca.cert.NotBefore.Add(BackDate)) || !r.Now.Before(ca.cert.NotAfter) {
		return nil, fmt.Errorf("the CA is valid from %s to %s, now is %s: check the clock, or renew it with: kato rotate ca",
			ca.cert.NotBefore.Format(time.RFC3339), ca.cert.NotAfter.Format(time.RFC3339), r.Now.UTC().Format(time.RFC3339))
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := r.template(ca)
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, parsed.PublicKey, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of node %s: %w", r.Name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return EncodeCert(cert), nil
}

func (r Request) check() error {
	if _, err := node.ParseID(string(r.ID)); err != nil {
		return err
	}
	if err := node.CheckName(r.Name); err != nil {
		return err
	}
	if !r.Address.IsValid() {
		return errors.New("certificate request without the node's address")
	}
	if r.Now.IsZero() || r.Lifetime < 0 {
		return errors.New("certificate request without a time, or with a negative lifetime")
	}
	return nil
}

func (r Request) template(ca *CA) *x509.Certificate {
	lifetime := r.Lifetime
	if lifetime == 0 {
		lifetime = Lifetime
	}
	notAfter := r.Now.Add(lifetime)
	if notAfter.After(ca.cert.NotAfter) {
		notAfter = ca.cert.NotAfter
	}
	return &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Stackato"}, CommonName: string(r.ID)},
		NotBefore:             r.Now.Add(-BackDate).UTC(),
		NotAfter:              notAfter.UTC(),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:                  []*url.URL{identityURI(ca.ClusterID(), r.ID)},
		DNSNames:              r.dnsNames(),
		IPAddresses:           []net.IP{r.Address.Unmap().AsSlice(), net.IPv4(127, 0, 0, 1)},
	}
}

// dnsNames lists the names in a fixed order.
func (r Request) dnsNames() []string {
	names := []string{r.Name + ".node", "localhost"}
	if r.ConsulServer {
		names = append(names, ConsulServerName)
	}
	if r.NomadServer {
		names = append(names, NomadServerName)
	}
	if r.NomadClient {
		names = append(names, NomadClientName)
	}
	return names
}

// RenewAt returns when a certificate is to be renewed: after a third of its
// lifetime, which leaves two thirds to find somebody who can.
func RenewAt(cert *x509.Certificate) time.Time {
	start := cert.NotBefore.Add(BackDate)
	return start.Add(cert.NotAfter.Sub(start) / 3)
}
