package cluster

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/wire/rpcerr"
)

// site makes a certificate signed by an authority of the test, its chain and
// its key, PEM.
func site(t *testing.T, now time.Time, change func(*x509.Certificate), names ...string) (cert, key []byte) {
	t.Helper()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: names, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	if change != nil {
		change(leaf)
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, leafKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return append(block("CERTIFICATE", leafDER), block("CERTIFICATE", caDER)...), block("PRIVATE KEY", keyDER)
}

func TestSiteCertificateIsChecked(t *testing.T) {
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	cert, key := site(t, now, nil, "Shop.Example.com", "*.example.org")
	other, otherKey := site(t, now, nil, "shop.example.com")
	got, err := readSiteCertificate("shop", cert, key, now)
	if diff := cmp.Diff([]string{"*.example.org", "shop.example.com"}, got.Hosts); err != nil || diff != "" {
		t.Fatal(err, diff)
	}
	leaf, chain, _ := bytes.Cut(cert, []byte("-----END CERTIFICATE-----\n"))
	leaf = append(bytes.Clone(leaf), "-----END CERTIFICATE-----\n"...)
	_, otherChain, _ := bytes.Cut(other, []byte("-----END CERTIFICATE-----\n"))
	made := func(change func(*x509.Certificate), names ...string) [2][]byte {
		c, k := site(t, now, change, names...)
		return [2][]byte{c, k}
	}
	for want, pair := range map[string][2][]byte{
		"does not belong":              {cert, otherKey},
		"no certificate in PEM form":   {[]byte("hello"), key},
		"no key in PEM form":           {cert, []byte("hello")},
		"is no key":                    {cert, cert},
		"something follows the key":    {cert, append(bytes.Clone(key), key...)},
		"stands among the certificate": {append(bytes.Clone(cert), key...), key},
		"not in order: number 1":       {append(bytes.Clone(leaf), otherChain...), key},
		"not in order":                 {append(bytes.Clone(chain), leaf...), key},
		"passphrase":                   {cert, bytes.ReplaceAll(key, []byte("PRIVATE KEY"), []byte("ENCRYPTED PRIVATE KEY"))},
		"ended on 2026-04-30T23:59:59": made(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }, "a.example.com"),
		"not valid before":             made(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Minute) }, "a.example.com"),
		"not for servers":              made(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, "a.example.com"),
		"names no hosts":               made(func(c *x509.Certificate) { c.Subject.CommonName = "a.example.com" }),
		"no host name":                 made(nil, "*.*.example.com"),
		"names 101 hosts":              made(nil, hosts(101)...),
		"bytes each":                   {bytes.Repeat([]byte{'\n'}, maxSiteCertBytes+1), key},
	} {
		_, err := readSiteCertificate("shop", pair[0], pair[1], now)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
		if err != nil && strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("the error shows what was given: %v", err)
		}
	}
	if _, err := readSiteCertificate("../shop", cert, key, now); err == nil {
		t.Error("any name is taken")
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a.example.com"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, weak.Public(), weak)
	if err != nil {
		t.Fatal(err)
	}
	_, err = readSiteCertificate("weak", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(weak)}), now)
	if err == nil || !strings.Contains(err.Error(), "1024 bits") {
		t.Errorf("a weak key: %v", err)
	}
}

func hosts(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("h%d.example.com", i))
	}
	return out
}

// TestRouterConfig: a certificate comes to routers with its key and to nobody
// else, its key lies sealed in the state, and each host has one certificate.
func TestRouterConfig(t *testing.T) {
	m := single(t)
	ctx := t.Context()
	cert, key := site(t, m.time.Now(), nil, "shop.example.com", "*.example.org")
	if _, err := m.PutSiteCertificate(ctx, "shop", cert, key, false); err != nil {
		t.Fatal(err)
	}
	again, againKey := site(t, m.time.Now(), nil, "shop.example.com")
	for want, do := range map[string]func() error{
		"already": func() error { _, err := m.PutSiteCertificate(ctx, "shop", again, againKey, false); return err },
		"as well": func() error { _, err := m.PutSiteCertificate(ctx, "other", again, againKey, true); return err },
		"no cert": func() error { return m.DelSiteCertificate(ctx, "other") },
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	put := func(key, value string) error {
		_, err := m.PutSetting(ctx, key, json.RawMessage(value), false, nil)
		return err
	}
	if err := put(routerProxies, `["10.0.0.0/16"]`); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{`"10.0.0.0/16"`, `[1]`, `["10.0.0.7"]`, `["10.0.0.7/16"]`, `["0.0.0.0/0"]`, `["::/0"]`} {
		if err := put(routerProxies, bad); err == nil {
			t.Errorf("%s are trusted proxies", bad)
		}
	}
	id := m.self.ID
	got, err := m.WatchRouterConfig(ctx, id, "", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Certificates) != 1 || !bytes.Equal(got.Certificates[0].Key, key) || !cmp.Equal(got.TrustedProxies, []string{"10.0.0.0/16"}) || got.IdleSeconds != 900 || got.StallSeconds != 60 {
		t.Errorf("routers get %+v", got)
	}
	if _, err := tls.X509KeyPair(got.Certificates[0].Cert, got.Certificates[0].Key); err != nil {
		t.Error(err)
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v", got, got, got), fmt.Sprint(got.LogValue())} {
		if strings.Contains(text, "BEGIN") || strings.Contains(text, "45, 45, 45") {
			t.Errorf("printing shows keys: %.100s", text)
		}
	}
	if _, err := m.WatchRouterConfig(ctx, "nobody", "", time.Minute); !errors.Is(err, rpcerr.Denied) {
		t.Errorf("somebody else gets it: %v", err)
	}
	state := m.cons.State().Read()
	sealed, ok := consensus.Get[Secret](state, secretsTable, "id", siteCertSecret("shop"))
	row, err := json.Marshal(SiteCertificates(state))
	if err != nil || !ok || bytes.Contains(sealed.Sealed, key[30:60]) || bytes.Contains(row, key[30:60]) {
		t.Errorf("the key lies open in the state, or nowhere: %v, %v", ok, err)
	}

	// A change is heard of while waiting.
	heard := make(chan RouterConfig, 1)
	go func() {
		next, err := m.WatchRouterConfig(context.WithoutCancel(ctx), id, got.Digest(), time.Minute)
		if err != nil {
			t.Error(err)
		}
		heard <- next
	}()
	if err := m.DelSiteCertificate(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	if next := <-heard; len(next.Certificates) != 0 {
		t.Errorf("after the removal: %v", next)
	}
	if _, ok := consensus.Get[Secret](m.cons.State().Read(), secretsTable, "id", siteCertSecret("shop")); ok {
		t.Error("the key stays when its certificate goes")
	}
}
