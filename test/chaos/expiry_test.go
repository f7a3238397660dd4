package chaos

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stackato/stackato/test/cluster"
)

// TestExpiredCertificates makes a cluster three months ago, switches it off
// and starts it today, when every certificate has expired.
func TestExpiredCertificates(t *testing.T) {
	ctx := bounded(t, 2*time.Minute)
	roles := func(i int) []string {
		if i < 3 {
			return []string{"controller", "router"}
		}
		return []string{"router"}
	}
	c := cluster.New(t, cluster.Options{Nodes: 4, Roles: roles, NoDocker: true, AgentEnv: map[string]string{
		"STACKATO_CHILDREN": "false", "STACKATO_CLOCK_OFFSET": "-2160h",
	}})
	must(t, c.Form(ctx))
	_, err := c.Node(3).Kato(ctx, "config", "get", "cluster/certificate_days")
	must(t, err)
	_, err = c.Node(0).Kato(ctx, "config", "set", "test/then", `"kept"`)
	must(t, err)
	must(t, c.WaitFor(ctx, "three voters", func() error { return votersAre(ctx, c.Node(0), names(c.Nodes()[:3])) }))
	for _, n := range c.Nodes() {
		must(t, n.StopAgent(ctx))
		if until, err := certificateEnd(n); err != nil || time.Now().Before(until) {
			t.Fatalf("%s: the certificate is good until %s (%v): nothing to test", n.Name, until, err)
		}
		must(t, n.SetAgentEnv(nil))
	}

	for _, n := range c.Nodes() {
		must(t, n.StartAgent(ctx))
	}
	must(t, c.WaitMembers(ctx, 4))
	for _, n := range c.Nodes() {
		must(t, c.WaitFor(ctx, "a new certificate on "+n.Name, func() error {
			until, err := certificateEnd(n)
			if err == nil && until.Before(time.Now().Add(24*time.Hour)) {
				err = fmt.Errorf("good until %s", until)
			}
			return err
		}))
		if _, err := n.Kato(ctx, "config", "get", "test/then"); err != nil {
			t.Errorf("%s: %v", n.Name, err)
		}
	}
	waitAgreement(ctx, t, c, 4, 3, c.Nodes()[:3]...)
}

// certificateEnd reads when a node's certificate ends.
func certificateEnd(n *cluster.Node) (time.Time, error) {
	b, err := os.ReadFile(n.HostPath(cluster.DataDir + "/pki/node.crt"))
	if err != nil {
		return time.Time{}, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return time.Time{}, fmt.Errorf("%s: no certificate", n.Name)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}, err
	}
	return cert.NotAfter, nil
}
