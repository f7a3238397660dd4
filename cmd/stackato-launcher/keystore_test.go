package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// certificates returns a bundle of n authorities.
func certificates(t *testing.T, n int) []byte {
	t.Helper()
	var out bytes.Buffer
	out.WriteString("# comments stand between them\n")
	for i := range n {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour), IsCA: true}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	_ = pem.Encode(&out, &pem.Block{Type: "SOMETHING ELSE", Bytes: []byte("x")})
	return out.Bytes()
}

func TestKeystore(t *testing.T) {
	store := javaKeystore(certificates(t, 3))
	if !bytes.HasPrefix(store, []byte{0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 3}) || bytes.Count(store, []byte("X.509")) != 3 {
		t.Errorf("header % x", store[:12])
	}
	if empty := javaKeystore(nil); len(empty) != 12+20 {
		t.Errorf("an empty one has %d bytes", len(empty))
	}
}

// TestKeystoreWithJava lets Java itself read one, in a stack image.
func TestKeystoreWithJava(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a container: not with -short")
	}
	out, err := exec.Command("docker", "images", "-q", "stackato/stack").Output()
	if err != nil {
		t.Skip(err)
	}
	for _, image := range strings.Fields(string(out)) {
		cmd := exec.Command("docker", "run", "--rm", "-i", "--network", "none", "--entrypoint", "/bin/sh", image, "-c",
			"command -v keytool >/dev/null || exit 99; cat > /tmp/store; keytool -list -keystore /tmp/store -storepass "+keystorePassword)
		cmd.Stdin = bytes.NewReader(javaKeystore(certificates(t, 3)))
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() == 99 {
			continue
		}
		if err != nil || !strings.Contains(string(out), "contains 3 entries") || strings.Contains(string(out), "integrity") {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	t.Skip("no stack image with Java on this machine: scripts/stack makes one")
}
