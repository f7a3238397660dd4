package agent

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stackato/stackato/agent/consensus"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests wait for timers of Raft and gossip most of the time: more of
	// them run at once than there are processors.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("6"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	removedAfter = 5 * time.Second
	// A few dozen agents share two processors with the tests of other packages:
	// a Primary that gets none for a third of a second is not lost, nor is a
	// node whose answer to a ping takes a second.
	pingTimeout = 8 * time.Second
	raftTiming = func(profile string) (consensus.Timing, error) {
		t, err := consensus.TimingProfile(profile)
		t.Heartbeat, t.Election = max(t.Heartbeat, time.Second), max(t.Election, time.Second)
		t.LeaderLease = max(t.LeaderLease, 900*time.Millisecond)
		return t, err
	}
	goleak.VerifyTestMain(m,
		// Raft never answers a future whose entry lies in the state machine's
		// queue when it shuts down; the waiting goroutine stays.
		goleak.IgnoreAnyFunction("github.com/hashicorp/raft.(*deferError).Error"),
		// A probe of memberlist that is on its way ends with its time-out.
		goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}
