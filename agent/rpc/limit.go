package rpc

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxLimited bounds how many addresses a limiter remembers.
const maxLimited = 4096

// limiter is a token bucket for each remote address, and one for all.
type limiter struct {
	perAddr rate.Limit
	burst   int

	mu    sync.Mutex
	all   *rate.Limiter
	addrs map[netip.Addr]*rate.Limiter
}

// newLimiter allows perSecond calls of each address, and fifty times that of
// all together.
func newLimiter(perSecond float64, burst int) *limiter {
	return &limiter{
		perAddr: rate.Limit(perSecond),
		burst:   burst,
		all:     rate.NewLimiter(rate.Limit(50*perSecond), 50*burst),
		addrs:   map[netip.Addr]*rate.Limiter{},
	}
}

// allow takes a token of addr. The own bucket comes first: an address that
// is over its limit takes nothing from the others.
func (l *limiter) allow(addr netip.Addr, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.addrs[addr]
	if b == nil {
		if len(l.addrs) >= maxLimited {
			l.evict(now)
		}
		b = rate.NewLimiter(l.perAddr, l.burst)
		l.addrs[addr] = b
	}
	return b.AllowN(now, 1) && l.all.AllowN(now, 1)
}

// evict makes room for one address. It looks at a few, which Go's maps give
// in random order, so that a flood of addresses costs little time: those whose
// bucket is full again go, and one in any case. The bucket for all still holds.
func (l *limiter) evict(now time.Time) {
	const look = 16
	n := 0
	for addr, b := range l.addrs {
		if n == 0 || b.TokensAt(now) >= float64(l.burst) {
			delete(l.addrs, addr)
		}
		if n++; n == look {
			return
		}
	}
}
