package gossip

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

const udpHeaders = 28 // bytes of IPv4 and UDP header per packet

// BenchmarkGossip reports, for each size:
//
//	join_s, join_worst_s    from Join of one more member until all members see it, and it them: median, worst
//	fail_first_s            from a crash until the first member sees it dead: median
//	fail_s, fail_worst_s    from a crash until all members see it dead: median, worst
//	B/member/s              bytes sent per member at rest, encrypted payload of packets and streams
//	wire_B/member/s         the same with IP and UDP headers of the packets
//	pkt/member/s            packets sent per member at rest
//	cpu_%/member            CPU per member at rest, percent of one core
//	busy_%                  CPU of the whole simulation at rest, percent of all cores
//	form_joined_s           from nothing until all have joined, one after the other
//	form_99%_s              from nothing until 99 % of the pairs see each other
//	form_s                  from nothing until all members see all: who missed one waits for a full sync
//	flaps                   running members seen dead by some member at the end of the rest, should be 0
func BenchmarkGossip(b *testing.B) {
	for _, size := range []struct{ members, rounds int }{{100, 3}, {300, 3}} {
		b.Run(fmt.Sprintf("members=%d", size.members), func(b *testing.B) {
			for range b.N {
				measure(b, size.members, size.rounds)
			}
		})
	}
}

func measure(b *testing.B, members, rounds int) {
	s := newSimulation(b)
	joined, most, all := s.form(members)
	b.Logf("%d members: all had joined after %s, 99%% of the pairs knew each other after %s, all after %s", members, joined, most, all)
	b.ReportMetric(joined.Seconds(), "form_joined_s")
	b.ReportMetric(most.Seconds(), "form_99%_s")
	b.ReportMetric(all.Seconds(), "form_s")
	s.settle()
	formed := time.Now()
	var joins, firsts, fails []time.Duration
	for range rounds {
		m, took := s.join()
		joins = append(joins, took)
		s.settle()
		first, all := s.fail(m)
		firsts, fails = append(firsts, first), append(fails, all)
		s.settle()
	}
	b.Logf("joins %v, first to see a failure %v, all %v", joins, firsts, fails)
	report := func(d time.Duration, unit string) { b.ReportMetric(d.Seconds(), unit) }
	r := s.rest(formed)
	b.Logf("at rest, per member: packets %.0f B/s, streams %.0f B/s", r.packetBytes, r.streamBytes)
	b.ReportMetric(r.packetBytes+r.streamBytes, "B/member/s")
	b.ReportMetric(r.packetBytes+r.streamBytes+r.packets*udpHeaders, "wire_B/member/s")
	b.ReportMetric(r.packets, "pkt/member/s")
	b.ReportMetric(r.cpu, "cpu_%/member")
	b.ReportMetric(r.busy, "busy_%")
	b.ReportMetric(float64(r.flaps), "flaps")
	report(median(joins), "join_s")
	report(slices.Max(joins), "join_worst_s")
	report(median(firsts), "fail_first_s")
	report(median(fails), "fail_s")
	report(slices.Max(fails), "fail_worst_s")
	b.ReportMetric(0, "ns/op") // means nothing here
	s.stop()
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}
