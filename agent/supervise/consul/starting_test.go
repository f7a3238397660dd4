package consul

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stackato/stackato/agent/supervise/serfagent"
	"github.com/stackato/stackato/agent/supervise/supervisetest"
)

// TestRenewedWhileStarting: a certificate that is renewed while Consul starts is
// the one that it shows, also when it had read the old one and was deaf to the
// signal to reload.
func TestRenewedWhileStarting(t *testing.T) {
	cl := newCluster(t)
	c := cl.config(t, "alpha", "127.0.0.1")
	c.BootstrapExpect = 1
	n := start(t, c, cl.management)
	for after := 60 * time.Millisecond; after < time.Second; after = after * 3 / 2 {
		awaitProcess(t, n)
		time.Sleep(after)
		cl.ca.Issue(t, n.NodeName, "server.dc1.consul", "localhost")
		if err := serfagent.Reload(t.Context(), n.child); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(n.TLS.Cert)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		want, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		supervisetest.Eventually(t, 15*time.Second, "the new certificate", func(context.Context) error {
			have, err := cl.ca.ServerSerial(t.Context(), fmt.Sprintf("%s:%d", n.BindAddr, n.Ports.Server), 0x03, n.TLS.Cert, n.TLS.Key)
			if err == nil && have.Cmp(want.SerialNumber) != 0 {
				err = fmt.Errorf("renewed %s after the start it shows %s, want %s", after, have, want.SerialNumber)
			}
			return err
		})
		if err := n.child.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitProcess waits for the process, however little it has done yet.
func awaitProcess(t *testing.T, n *node) {
	t.Helper()
	supervisetest.Eventually(t, 15*time.Second, "a process", func(context.Context) error {
		if st := n.child.Status(); st.PID == 0 {
			return fmt.Errorf("it is %s", st.State)
		}
		return nil
	})
}

// TestStopWhileStarting: a node that joins becomes a server while its Consul
// starts, and a Consul that starts forgets the signal to stop. Whenever it is
// told, it ends without being killed.
func TestStopWhileStarting(t *testing.T) {
	cl := newCluster(t)
	c := cl.config(t, "alpha", "127.0.0.1")
	c.BootstrapExpect, c.StopGrace = 1, time.Minute
	n := start(t, c, cl.management)
	for after := 20 * time.Millisecond; after < 2*time.Second; after = after * 3 / 2 { // another moment of the start each time
		awaitProcess(t, n)
		time.Sleep(after)
		if err := n.child.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := n.child.Status().LastExit; got == "signal: killed" {
			t.Errorf("told to stop %s after its start it had to be killed", after)
		}
		if err := n.child.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
