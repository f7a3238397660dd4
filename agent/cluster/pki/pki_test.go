package pki_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/node"
)

const cluster = "c0ffee"

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newCA(t testing.TB, clusterID string, kind pki.Kind, now time.Time) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA(clusterID, kind, now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func newCSR(t testing.TB, id node.ID) ([]byte, crypto.Signer) {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.CSR(key, id)
	if err != nil {
		t.Fatal(err)
	}
	return csr, key
}

func request(id node.ID) pki.Request {
	return pki.Request{ID: id, Name: "n1", Address: netip.MustParseAddr("10.0.0.1"), Now: epoch}
}

func issue(t testing.TB, ca *pki.CA, r pki.Request) *x509.Certificate {
	t.Helper()
	csr, _ := newCSR(t, r.ID)
	text, err := pki.Issue(ca, csr, r)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pki.ParseCert(text)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func certs(cs ...*x509.Certificate) []*x509.Certificate { return cs }

func TestIssuedCertificate(t *testing.T) {
	ca := newCA(t, cluster, pki.ClusterCA, epoch)
	id := node.NewID()
	tests := []struct {
		name  string
		edit  func(*pki.Request)
		names []string
	}{
		{"plain", func(*pki.Request) {}, []string{"n1.node", "localhost"}},
		{
			"controller", func(r *pki.Request) { r.ConsulServer, r.NomadServer = true, true },
			[]string{"n1.node", "localhost", "server.dc1.consul", "server.global.nomad"},
		},
		{"dea", func(r *pki.Request) { r.NomadClient = true }, []string{"n1.node", "localhost", "client.global.nomad"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := request(id)
			tt.edit(&r)
			cert := issue(t, ca, r)
			got, err := pki.Verify(certs(cert), certs(ca.Cert()), cluster, epoch, pki.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if name, err := pki.Names(cert, cluster); err != nil || name != id {
				t.Errorf("names %s, %v", name, err)
			}
			want := pki.Identity{
				ID: id, ClusterID: cluster, Serial: cert.SerialNumber.Text(16), DNSNames: tt.names, Issuer: ca.Digest(),
				NotBefore: epoch.Add(-5 * time.Minute), NotAfter: epoch.Add(30 * 24 * time.Hour),
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatal(diff)
			}
			if got, want := fmt.Sprint(cert.IPAddresses), "[10.0.0.1 127.0.0.1]"; got != want {
				t.Errorf("addresses %s, want %s", got, want)
			}
			if got, want := pki.RenewAt(cert), epoch.Add(10*24*time.Hour); !got.Equal(want) {
				t.Errorf("renew at %s, want %s", got, want)
			}
			// What Consul and Nomad check: server names only for servers.
			pool := x509.NewCertPool()
			pool.AddCert(ca.Cert())
			_, err = cert.Verify(x509.VerifyOptions{Roots: pool, DNSName: "server.global.nomad", CurrentTime: epoch})
			if (err == nil) != r.NomadServer {
				t.Errorf("as server.global.nomad: %v", err)
			}
		})
	}
}

// A request that asks for names gets none of them.
func TestCSRNamesAreIgnored(t *testing.T) {
	ca := newCA(t, cluster, pki.ClusterCA, epoch)
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "evil"},
		DNSNames: []string{"server.global.nomad"},
		URIs:     []*url.URL{{Scheme: "spiffe", Host: cluster, Path: "/node/" + string(node.NewID())}},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	id := node.NewID()
	text, err := pki.Issue(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), request(id))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pki.ParseCert(text)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pki.Verify(certs(cert), certs(ca.Cert()), cluster, epoch, pki.Options{})
	if err != nil || got.ID != id {
		t.Fatalf("%+v, %v", got, err)
	}
	if diff := cmp.Diff([]string{"n1.node", "localhost"}, got.DNSNames); diff != "" {
		t.Error(diff)
	}
}

func TestIssueRefuses(t *testing.T) {
	ca := newCA(t, cluster, pki.ClusterCA, epoch)
	good, _ := newCSR(t, node.NewID())
	csrOf := func(key crypto.Signer, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		csr, err := pki.CSR(key, "x")
		if err != nil {
			t.Fatal(err)
		}
		return csr
	}
	tampered := func() []byte {
		block, _ := pem.Decode(good)
		block.Bytes[len(block.Bytes)-1] ^= 1
		return pem.EncodeToMemory(block)
	}
	tests := []struct {
		name string
		ca   *pki.CA
		csr  []byte
		edit func(*pki.Request)
		want string
	}{
		{"router CA", newCA(t, cluster, pki.RouterCA, epoch), good, nil, "signed by the cluster CA"},
		{"RSA", ca, csrOf(rsa.GenerateKey(rand.Reader, 2048)), nil, "want ECDSA P-256"},
		{"P-384", ca, csrOf(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)), nil, "curve P-384"},
		{"bad signature", ca, tampered(), nil, "bad signature"},
		{"not PEM", ca, []byte("x"), nil, "no PEM block"},
		{"too long", ca, append([]byte(strings.Repeat(" ", 9000)), good...), nil, "allowed are"},
		{"text after", ca, append(append([]byte{}, good...), good...), nil, "text after"},
		{"node id", ca, good, func(r *pki.Request) { r.ID = "x/../y" }, "not a UUID"},
		{"name", ca, good, func(r *pki.Request) { r.Name = "server.dc1.consul\x00" }, "DNS label"},
		{"address", ca, good, func(r *pki.Request) { r.Address = netip.Addr{} }, "address"},
		{"lifetime", ca, good, func(r *pki.Request) { r.Lifetime = -1 }, "lifetime"},
		{"before the CA", ca, good, func(r *pki.Request) { r.Now = epoch.Add(-2 * time.Hour) }, "check the clock"},
		{"after the CA", ca, good, func(r *pki.Request) { r.Now = epoch.AddDate(11, 0, 0) }, "rotate ca"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := request(node.NewID())
			if tt.edit != nil {
				tt.edit(&r)
			}
			if _, err := pki.Issue(tt.ca, tt.csr, r); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
		})
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Issue(ca, csrOf(edKey, nil), request(node.NewID())); err != nil {
		t.Errorf("Ed25519: %v", err)
	}
}

func TestNeverOutlivesTheCA(t *testing.T) {
	ca := newCA(t, cluster, pki.ClusterCA, epoch)
	r := request(node.NewID())
	r.Now = ca.Cert().NotAfter.Add(-time.Hour)
	if cert := issue(t, ca, r); !cert.NotAfter.Equal(ca.Cert().NotAfter) {
		t.Errorf("leaf until %s, CA until %s", cert.NotAfter, ca.Cert().NotAfter)
	}
}

func TestCARoundTrip(t *testing.T) {
	ca := newCA(t, cluster, pki.RouterCA, epoch)
	got, err := pki.ParseCA(ca.CertPEM(), ca.KeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest() != ca.Digest() || got.Kind() != pki.RouterCA || got.ClusterID() != cluster {
		t.Errorf("%v: %s %s", got, got.Kind(), got.ClusterID())
	}
	if d := ca.Digest(); !strings.HasPrefix(d, "sha256:") || len(d) != 7+64 {
		t.Errorf("digest %q", d)
	}
	if _, err := pki.ParseCA(ca.CertPEM(), newCA(t, cluster, pki.RouterCA, epoch).KeyPEM()); err == nil {
		t.Error("key of another CA accepted")
	}
	if _, err := pki.ParseCA(ca.KeyPEM(), ca.CertPEM()); err == nil {
		t.Error("certificate and key exchanged, accepted")
	}
	leaf := pki.EncodeCert(issue(t, newCA(t, cluster, pki.ClusterCA, epoch), request(node.NewID())))
	if _, err := pki.ParseCA(leaf, ca.KeyPEM()); err == nil {
		t.Error("a node certificate accepted as CA")
	}
	block, _ := pem.Decode(ca.KeyPEM())
	if s := fmt.Sprintf("%v %+v %#v", ca, ca, ca); strings.Contains(s, string(block.Bytes)) || !strings.HasPrefix(s, cluster) {
		t.Errorf("printed: %s", s)
	}
	for _, bad := range []string{"", "UPPER", "a/b", strings.Repeat("a", 64)} {
		if _, err := pki.NewCA(bad, pki.ClusterCA, epoch); err == nil {
			t.Errorf("cluster id %q accepted", bad)
		}
	}
	if _, err := pki.NewCA(cluster, "root", epoch); err == nil {
		t.Error("unknown kind accepted")
	}
}

func TestBundle(t *testing.T) {
	older := newCA(t, cluster, pki.ClusterCA, epoch)
	newer := newCA(t, cluster, pki.ClusterCA, epoch.Add(time.Hour))
	b := pki.Bundle{}.With(older.Cert()).With(newer.Cert()).With(older.Cert())
	got, err := pki.ParseBundle(pki.Bundle{older.Cert(), newer.Cert()}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]pki.Bundle{"With": b, "parsed": got} {
		if len(x) != 2 || !x[0].Equal(newer.Cert()) {
			t.Errorf("%s: not newest first: %d", name, len(x))
		}
	}
	leaf := issue(t, older, request(node.NewID()))
	if issuer, ok := b.IssuerOf(leaf); !ok || !issuer.Equal(older.Cert()) {
		t.Errorf("issuer %v", issuer)
	}
	rest := b.Without(older.Digest())
	if _, ok := rest.ByDigest(older.Digest()); ok || len(rest) != 1 || len(b) != 2 {
		t.Error("Without did not remove, or changed its receiver")
	}
	if _, ok := rest.IssuerOf(leaf); ok {
		t.Error("issuer found after it was removed")
	}
	for name, text := range map[string][]byte{
		"empty": nil, "key": older.KeyPEM(), "cert and key": append(older.CertPEM(), older.KeyPEM()...),
		"too long": []byte(strings.Repeat("\n", 70<<10)), "too many": []byte(strings.Repeat(string(older.CertPEM()), 17)),
	} {
		if _, err := pki.ParseBundle(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestTLSCertificate(t *testing.T) {
	ca := newCA(t, cluster, pki.ClusterCA, epoch)
	id := node.NewID()
	csr, key := newCSR(t, id)
	keyPEM, err := pki.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM, err := pki.Issue(ca, csr, request(id))
	if err != nil {
		t.Fatal(err)
	}
	got, err := pki.TLSCertificate(certPEM, keyPEM, ca.Cert())
	if err != nil || len(got.Certificate) != 2 || got.Leaf == nil {
		t.Fatalf("%v, %v", got, err)
	}
	_, otherKey := newCSR(t, id)
	otherPEM, err := pki.EncodeKey(otherKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pki.TLSCertificate(certPEM, otherPEM, ca.Cert()); err == nil {
		t.Error("a foreign key was accepted")
	}
	if _, err := pki.TLSCertificate(certPEM, keyPEM, newCA(t, cluster, pki.ClusterCA, epoch).Cert()); err == nil {
		t.Error("a foreign CA was accepted")
	}
}

func FuzzParseCSR(f *testing.F) {
	csr, _ := newCSR(f, node.NewID())
	f.Add(csr)
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := pki.ParseCSR(text)
		if err == nil && got.CheckSignature() != nil {
			t.Fatal("a request without a good signature was accepted")
		}
	})
}
