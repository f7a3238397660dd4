package consensus

import (
	"fmt"
	"testing"
)

func BenchmarkPropose(b *testing.B) {
	for _, bb := range []struct {
		name   string
		voters int
		disk   bool
	}{{"one node on disk", 1, true}, {"three nodes in memory", 3, false}} {
		for _, parallel := range []int{1, 32} {
			b.Run(fmt.Sprintf("%s, %d writers", bb.name, parallel), func(b *testing.B) {
				c := newTestCluster(b)
				c.disk = bb.disk
				c.form(bb.voters)
				l := c.leader()
				b.SetParallelism(parallel)
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := cmdSet.Propose(b.Context(), l, kvSet{"a", 1}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}
