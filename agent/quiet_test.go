package agent

import (
	"fmt"
	"testing"
	"time"
)

// TestHeartbeatsAreNotReplicated: a cluster in which nothing happens writes
// nothing into its log, however often nodes tell each other that they are up.
func TestHeartbeatsAreNotReplicated(t *testing.T) {
	g := newGroup(t, "controller", "controller", "dea")
	follower := g.other(g.primary()).node().role.cons
	eventually(t, "a time without writes", func() error {
		before, beats, last := follower.Stats().LastIndex, 0, time.Duration(0)
		// The age of the last heartbeat falls with each one that comes.
		eventually(t, "heartbeats", func() error {
			now := follower.Stats().LastContact
			if now < last {
				beats++
			}
			if last = now; beats < 20 {
				return fmt.Errorf("%d were seen", beats)
			}
			return nil
		})
		if after := follower.Stats().LastIndex; after != before {
			return fmt.Errorf("the log has grown from %d to %d", before, after)
		}
		return nil
	})
}

// TestWideArea: a cluster with the timing wan forms, replaces its Primary and
// keeps what was written.
func TestWideArea(t *testing.T) {
	t.Parallel()
	wan := func(m *machine) { m.cfg.Timing = "wan" }
	g := newGroupOf(t, wan, "controller", "controller")
	w := g.write()
	w.more(5)
	old := g.primary()
	if err := old.stop(); err != nil {
		t.Error(err)
	}
	if next := g.primary(); next == old {
		t.Fatal("there is no other Primary")
	}
	w.more(5)
	old.start()
	g.settle()
	w.check(g.machines...)
	for _, m := range g.machines {
		if timing := m.node().cfg.Timing; timing != "wan" {
			t.Errorf("%s runs with %s", m.name, timing)
		}
	}
}
