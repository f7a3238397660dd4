package cluster

import (
	"testing"
	"time"
)

// Nodes are left alone for settle, then measured for rest: there is no
// condition to wait for.
const (
	settle = 10 * time.Second
	rest   = 30 * time.Second
)

// BenchmarkIdle measures what an idle node costs: an agent with the base role
// only, and everything of a micro cloud.
func BenchmarkIdle(b *testing.B) {
	c, _ := formed(b, 2, func(i int) []string {
		if i == 0 {
			return []string{"micro"}
		}
		return []string{"base"}
	})
	for b.Loop() {
		time.Sleep(settle)
		micro, base := usage(b, c.Node(0)), usage(b, c.Node(1))
		time.Sleep(rest)
		microLater, baseLater := usage(b, c.Node(0)), usage(b, c.Node(1))
		for _, p := range []string{"stackato-agent", "consul", "nomad", "dockerd", "containerd"} {
			b.ReportMetric(microLater[p].rssMiB, "micro-"+p+"-MiB")
			b.ReportMetric(percent(micro[p], microLater[p], rest), "micro-"+p+"-cpu%")
		}
		total := 0.0
		for _, u := range microLater {
			total += u.rssMiB
		}
		b.ReportMetric(total, "micro-total-MiB")
		b.ReportMetric(baseLater["stackato-agent"].rssMiB, "base-agent-MiB")
		b.ReportMetric(percent(base["stackato-agent"], baseLater["stackato-agent"], rest), "base-agent-cpu%")
	}
}

// BenchmarkIdlePrimary measures what the Primary and a follower cost in a
// cluster of three controllers without work.
func BenchmarkIdlePrimary(b *testing.B) {
	c, ctx := formed(b, 3, nil)
	for b.Loop() {
		time.Sleep(settle)
		primary, err := c.Primary(ctx)
		must(b, err)
		follower := c.Node(0)
		if follower == primary {
			follower = c.Node(1)
		}
		p, f := usage(b, primary), usage(b, follower)
		time.Sleep(rest)
		pLater, fLater := usage(b, primary), usage(b, follower)
		for _, name := range []string{"stackato-agent", "consul", "nomad"} {
			b.ReportMetric(percent(p[name], pLater[name], rest), "primary-"+name+"-cpu%")
			b.ReportMetric(percent(f[name], fLater[name], rest), "follower-"+name+"-cpu%")
		}
		b.ReportMetric(pLater["stackato-agent"].rssMiB, "primary-agent-MiB")
	}
}
