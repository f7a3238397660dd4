package cluster

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/node"
)

// TestFoundMakesTwoAuthorities: nodes trust the cluster's authority alone;
// certificates that apps' users see come from another one.
func TestFoundMakesTwoAuthorities(t *testing.T) {
	now := time.Now()
	found, err := Found(node.Node{ID: node.NewID(), Name: "n1", Address: "127.0.0.1"}, "stackato.localhost", true, now)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for _, a := range found.Founding.Authorities {
		roots := x509.NewCertPool()
		if !a.Active || keys[a.Kind] || !roots.AppendCertsFromPEM(a.CertPEM) {
			t.Fatalf("authority %+v", a)
		}
		keys[a.Kind] = true
		signed := verifies(t, found.Certificate, roots)
		if want := a.Kind == string(pki.ClusterCA); signed != want {
			t.Errorf("the %s authority has signed the node's certificate: %t", a.Kind, signed)
		}
		sealed := 0
		for _, s := range found.Founding.Secrets {
			if s.ID != authoritySecret(a.Digest) {
				continue
			}
			if key, err := found.Ring.Open(s.Sealed, []byte(s.ID)); err == nil && len(key) > 0 {
				sealed++
			}
		}
		if sealed != 1 {
			t.Errorf("the key of the %s authority stands sealed in the state %d times", a.Kind, sealed)
		}
	}
	if len(keys) != 2 || !keys[string(pki.ClusterCA)] || !keys[string(pki.RouterCA)] {
		t.Errorf("authorities %v", keys)
	}
}

func verifies(t *testing.T, certificate []byte, roots *x509.CertPool) bool {
	t.Helper()
	leaf, err := pki.ParseCert(certificate)
	if err != nil {
		t.Fatal(err)
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err == nil
}
