package cluster

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	nodes "github.com/stackato/stackato/test/cluster"
)

// cost is what a program uses: resident memory now, CPU time so far.
type cost struct {
	rssMiB float64
	cpu    time.Duration
}

// clockTick is the unit of CPU times in /proc, always 1/100 s on Linux.
const clockTick = 10 * time.Millisecond

// usage sums up the programs of a node from /proc.
func usage(b *testing.B, n *nodes.Node) map[string]cost {
	b.Helper()
	out := map[string]cost{}
	for _, program := range []string{"stackato-agent", "consul", "nomad", "dockerd", "containerd"} {
		pids, err := n.PIDs(program)
		must(b, err)
		var sum cost
		for _, pid := range pids {
			one, err := costOf(pid)
			must(b, err)
			sum.rssMiB += one.rssMiB
			sum.cpu += one.cpu
		}
		if len(pids) > 0 {
			out[program] = sum
		}
	}
	return out
}

func costOf(pid int) (cost, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return cost{}, err
	}
	// Fields after the program's name, which may hold spaces: proc(5).
	stat := string(text)
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	user, err1 := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	pages, err3 := strconv.Atoi(f[21])
	if err1 != nil || err2 != nil || err3 != nil {
		return cost{}, fmt.Errorf("/proc/%d/stat is odd", pid)
	}
	return cost{float64(pages*os.Getpagesize()) / (1 << 20), time.Duration(user+system) * clockTick}, nil
}

func percent(before, after cost, d time.Duration) float64 {
	return 100 * float64(after.cpu-before.cpu) / float64(d)
}
