package consul

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stackato/stackato/agent/supervise/supervisetest"
)

// TestStopWhileStarting: a node that joins becomes a server while its Consul
// starts, and a Consul that starts forgets the signal to stop. Whenever it is
// told, it ends without being killed.
func TestStopWhileStarting(t *testing.T) {
	cl := newCluster(t)
	c := cl.config(t, "alpha", "127.0.0.1")
	c.BootstrapExpect, c.StopGrace = 1, time.Minute
	n := start(t, c, cl.management)
	for after := 20 * time.Millisecond; after < 2*time.Second; after = after * 3 / 2 { // another moment of the start each time
		supervisetest.Eventually(t, 15*time.Second, "a process", func(context.Context) error {
			if st := n.child.Status(); st.PID == 0 {
				return fmt.Errorf("it is %s", st.State)
			}
			return nil
		})
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
