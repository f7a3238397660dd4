package fence

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// conntrackMax is how many connections the kernel follows, of all containers.
const conntrackMax = "/proc/sys/net/netfilter/nf_conntrack_max"

// Bounds of what [outwardLimit] returns.
const (
	minOutward = 1 << 10
	maxOutward = 16 << 10
)

// outwardLimit is how many connections a container may have open outward at
// once: the 32nd part of what the kernel can follow, so that a few that hold as
// many as they can leave room for the others. A table that is full refuses new
// connections of the whole node, those of its router included; closed ones it
// gives up by itself.
func outwardLimit() int {
	text, err := os.ReadFile(conntrackMax)
	if err != nil { // nothing is followed yet
		return maxOutward / 2
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return maxOutward / 2
	}
	return min(max(n/32, minOutward), maxOutward)
}

// tooMany is the part of a rule that meets a new connection of a container that
// has as many as it may.
func (g *Guard) tooMany() string {
	n := g.cfg.Connections
	if n == 0 {
		n = outwardLimit()
	}
	return fmt.Sprintf("-m connlimit --connlimit-above %d --connlimit-mask 32 --connlimit-saddr", n)
}
