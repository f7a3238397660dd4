// Package memlimit says what the memory limit of a container has done to its processes.
package memlimit

import (
	"bufio"
	"os"
	"strconv"
	"strings"
)

// Where the kernel counts what the memory limit of this container has ended:
// cgroup v2, then v1.
var events = []string{"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"}

// Kills returns how many processes of this container were ended because
// its memory was full; 0 where the kernel does not say.
func Kills() int64 {
	for _, name := range events {
		if n, ok := readKills(name); ok {
			return n
		}
	}
	return 0
}

func readKills(name string) (int64, bool) {
	f, err := os.Open(name)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "oom_kill "); ok {
			n, err := strconv.ParseInt(value, 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
