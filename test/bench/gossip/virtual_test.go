package gossip

import (
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestHundredMembers and TestThousandMembers measure in virtual time: a join
// and a failure become known to all, nobody is given up that runs, and rest is
// cheap.
func TestHundredMembers(t *testing.T) { virtually(t, 100, 3) }

// TestThousandMembers is the long run.
func TestThousandMembers(t *testing.T) {
	if os.Getenv("STACKATO_TEST_LONG") != "1" {
		t.Skip("takes some minutes of both cores and 3 GB; make test-long runs it")
	}
	virtually(t, 1000, 3)
}

// virtually runs members on a clock that stands still while any of them
// computes: what they cost does not make their probes late, however many share
// the cores. Times are those of the protocol on machines of their own and a
// network without latency; CPU is real.
func virtually(t *testing.T, members, rounds int) {
	began := time.Now()
	var cpu time.Duration
	var virtual time.Duration
	synctest.Test(t, func(t *testing.T) {
		started := time.Now()
		s := newSimulation(t)
		_, most, all := s.form(members)
		cpu = cpuTime(t)
		t.Logf("%d members that come at once: 99 %% of the pairs know each other after %s, all after %s; CPU %s", members, most, all, cpu)
		formed := time.Now()
		s.settle()
		var joins, firsts, fails []time.Duration
		for range rounds {
			m, joined := s.join()
			s.settle()
			first, all := s.fail(m)
			s.settle()
			joins, firsts, fails = append(joins, joined), append(firsts, first), append(fails, all)
		}
		t.Logf("a join is known to all after %v, worst %v", median(joins), slices.Max(joins))
		t.Logf("a crash is known to the first after %v, to all after %v, worst %v", median(firsts), median(fails), slices.Max(fails))
		r := s.rest(formed)
		t.Logf("at rest, per member and second: %.1f packets, %.0f bytes in packets, %.0f in streams; %.3f %% of a core", r.packets, r.packetBytes, r.streamBytes, r.cpu)
		for what, times := range map[string][]time.Duration{"join": joins, "failure": fails} {
			usual := map[string]time.Duration{"join": 5 * time.Second, "failure": time.Minute}[what]
			if m := median(times); m > usual {
				t.Errorf("a %s took %s to be known to all", what, m)
			}
			// Once in thousands news misses a member, which a full sync makes good.
			if worst := slices.Max(times); worst > usual+fullSync(members) {
				t.Errorf("a %s took %s to be known to all, full syncs included", what, worst)
			}
		}
		if r.flaps > 0 {
			t.Errorf("%d views hold a running member dead", r.flaps)
		}
		if sent := r.packetBytes + r.streamBytes; sent > 4000 {
			t.Errorf("a member sends %.0f bytes a second at rest", sent)
		}
		cpu, virtual = cpuTime(t), time.Since(started)
	})
	t.Logf("%s of virtual time took %s and %s of CPU", virtual.Round(time.Second), time.Since(began).Round(time.Second), cpu.Round(time.Second))
}
