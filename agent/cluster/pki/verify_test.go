package pki_test

import (
	"crypto/rand"
	"crypto/x509"
	"errors"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/node"
)

// signed makes a certificate with the CA's key that Issue would never make.
func signed(t *testing.T, ca *pki.CA, edit func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	key, err := pki.ParseKey(ca.KeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: epoch.Add(-time.Minute), NotAfter: epoch.Add(time.Hour)}
	edit(template)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Cert(), key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestVerify(t *testing.T) {
	ca := newCA(t, cluster, pki.ClusterCA, epoch)
	newer := newCA(t, cluster, pki.ClusterCA, epoch.Add(time.Hour))
	stranger := newCA(t, cluster, pki.ClusterCA, epoch) // same cluster id, other key
	foreign := newCA(t, "other", pki.ClusterCA, epoch)
	router := newCA(t, cluster, pki.RouterCA, epoch)
	id := node.NewID()
	leaf := issue(t, ca, request(id))
	uri := func(s string) func(*x509.Certificate) {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return func(c *x509.Certificate) { c.URIs = []*url.URL{u} }
	}
	tests := []struct {
		name    string
		chain   []*x509.Certificate
		roots   []*x509.Certificate
		now     time.Time
		expired bool // AllowExpired
		want    error
	}{
		{"good", certs(leaf, ca.Cert()), certs(ca.Cert()), epoch, false, nil},
		{"rotation, old leaf", certs(leaf), certs(newer.Cert(), ca.Cert()), epoch, false, nil},
		{"slow clock", certs(leaf), certs(ca.Cert()), epoch.Add(-4 * time.Minute), false, nil},
		{"clock far behind", certs(leaf), certs(ca.Cert()), epoch.Add(-6 * time.Minute), false, pki.ErrNotYetValid},
		{"clock far behind, expired allowed", certs(leaf), certs(ca.Cert()), epoch.Add(-6 * time.Minute), true, pki.ErrNotYetValid},
		{"expired", certs(leaf), certs(ca.Cert()), epoch.AddDate(0, 3, 0), false, pki.ErrExpired},
		{"expired allowed", certs(leaf), certs(ca.Cert()), epoch.AddDate(0, 3, 0), true, nil},
		{"expired, allowed, CA expired too", certs(leaf), certs(ca.Cert()), epoch.AddDate(12, 0, 0), true, nil},
		{"expired of another CA", certs(leaf), certs(stranger.Cert()), epoch.AddDate(0, 3, 0), true, pki.ErrOtherCluster},
		{"after rotation", certs(leaf), certs(newer.Cert()), epoch, false, pki.ErrOtherCluster},
		{"unknown CA", certs(leaf), certs(stranger.Cert()), epoch, false, pki.ErrOtherCluster},
		{"unknown CA sent along", certs(leaf, ca.Cert()), certs(stranger.Cert()), epoch, false, pki.ErrOtherCluster},
		{"no roots", certs(leaf), nil, epoch, false, pki.ErrOtherCluster},
		{"other cluster, its CA trusted by mistake", certs(issue(t, foreign, request(id))), certs(foreign.Cert()), epoch, false, pki.ErrOtherCluster},
		{"router CA signs a node", certs(signed(t, router, uri("spiffe://"+cluster+"/node/"+string(id)))), certs(ca.Cert(), router.Cert()), epoch, false, pki.ErrOtherCluster},
		{"nothing", nil, certs(ca.Cert()), epoch, false, pki.ErrNoIdentity},
		{"the CA itself", certs(ca.Cert()), certs(ca.Cert()), epoch, false, pki.ErrNoIdentity},
		{"an authority that names a node", certs(signed(t, ca, func(c *x509.Certificate) {
			uri("spiffe://" + cluster + "/node/" + string(id))(c)
			c.IsCA, c.BasicConstraintsValid = true, true
		})), certs(ca.Cert()), epoch, false, pki.ErrNoIdentity},
		{"no URI", certs(signed(t, ca, func(*x509.Certificate) {})), certs(ca.Cert()), epoch, false, pki.ErrNoIdentity},
		{"not a node", certs(signed(t, ca, uri("spiffe://"+cluster+"/app/"+string(id)))), certs(ca.Cert()), epoch, false, pki.ErrNoIdentity},
		{"not a UUID", certs(signed(t, ca, uri("spiffe://"+cluster+"/node/x"))), certs(ca.Cert()), epoch, false, pki.ErrNoIdentity},
		{"with query", certs(signed(t, ca, uri("spiffe://"+cluster+"/node/"+string(id)+"?x=1"))), certs(ca.Cert()), epoch, false, pki.ErrNoIdentity},
		{"https URI", certs(signed(t, ca, uri("https://"+cluster+"/node/"+string(id)))), certs(ca.Cert()), epoch, false, pki.ErrNoIdentity},
		{"two URIs", certs(signed(t, ca, func(c *x509.Certificate) {
			uri("spiffe://" + cluster + "/node/" + string(id))(c)
			c.URIs = append(c.URIs, c.URIs[0])
		})), certs(ca.Cert()), epoch, false, pki.ErrNoIdentity},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := pki.Verify(tt.chain, tt.roots, cluster, tt.now, pki.Options{AllowExpired: tt.expired})
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Fatalf("got %+v, %v; want %v", got, err, tt.want)
			}
			if err == nil && (got.ID != id || got.Expired != tt.now.After(leaf.NotAfter)) {
				t.Fatalf("identity %+v", got)
			}
		})
	}
}

// An intermediate that a node makes for itself must not sign nodes.
func TestNodeCannotSign(t *testing.T) {
	ca := newCA(t, cluster, pki.ClusterCA, epoch)
	csr, key := newCSR(t, node.NewID())
	text, err := pki.Issue(ca, csr, request(node.NewID()))
	if err != nil {
		t.Fatal(err)
	}
	parent, err := pki.ParseCert(text)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: epoch, NotAfter: epoch.Add(time.Hour),
		URIs: []*url.URL{{Scheme: "spiffe", Host: cluster, Path: "/node/" + string(node.NewID())}},
	}, parent, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	child, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Verify(certs(child, parent), certs(ca.Cert()), cluster, epoch, pki.Options{}); !errors.Is(err, pki.ErrOtherCluster) {
		t.Fatal(err)
	}
}
