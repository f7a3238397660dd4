package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// authority makes a certificate, PEM.
func authority(t *testing.T, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestJavaTrustOnlyWhereJavaIs(t *testing.T) {
	name := filepath.Join(t.TempDir(), "cacerts")
	bundle := slices.Concat(authority(t, "one"), []byte("# a comment\n"), authority(t, "two"))
	if err := writeJavaTrust(name, bundle, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name); err == nil {
		t.Error("a stack without Java got a file")
	}
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writeJavaTrust(name, bundle, time.Now()); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(name)
	if err != nil || !strings.HasPrefix(string(raw), "\xfe\xed\xfe\xed\x00\x00\x00\x02\x00\x00\x00\x02") {
		t.Errorf("%x %v", raw[:min(len(raw), 12)], err)
	}
	if n := len(certificates(bundle)); n != 2 {
		t.Errorf("%d certificates", n)
	}
}

// TestJavaReadsTheKeystore asks Java itself.
func TestJavaReadsTheKeystore(t *testing.T) {
	if os.Getenv("STACKATO_TEST_LONG") == "" {
		t.Skip("needs the full stack: set STACKATO_TEST_LONG=1")
	}
	stack := image(t, "full")
	name := filepath.Join(t.TempDir(), "cacerts")
	if err := os.WriteFile(name, keystore(certificates(slices.Concat(authority(t, "one"), authority(t, "two"))), time.Now()), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args := slices.Concat([]string{"run", "--rm", "--network", "none", "--volume", name + ":/cacerts:ro"}, labels(t),
		[]string{stack, "keytool", "-list", "-v", "-keystore", "/cacerts", "-storepass", "changeit"})
	out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "contains 2 entries") || !strings.Contains(string(out), "Owner: CN=two") {
		t.Errorf("%v\n%s", err, out)
	}
}
