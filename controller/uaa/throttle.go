package uaa

import (
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// throttle limits requests by client address.
type throttle struct {
	rate  rate.Limit
	burst int

	mu       sync.Mutex
	limiters map[string]*rate.Limiter
	swept    time.Time
}

func newThrottle(perSecond float64, burst int) *throttle {
	return &throttle{rate: rate.Limit(perSecond), burst: burst, limiters: map[string]*rate.Limiter{}}
}

// allow says whether the address may send a request now.
func (t *throttle) allow(address string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.limiters[address]
	if l == nil {
		if len(t.limiters) >= maxRecords {
			t.forget(now)
		}
		l = rate.NewLimiter(t.rate, t.burst)
		t.limiters[address] = l
	}
	return l.AllowN(now, 1)
}

// forget removes, now and then, those that have their whole burst again, and
// else anyone.
func (t *throttle) forget(now time.Time) {
	if now.Sub(t.swept) >= time.Second {
		t.swept = now
		maps.DeleteFunc(t.limiters, func(_ string, l *rate.Limiter) bool { return l.TokensAt(now) >= float64(t.burst) })
	}
	for a := range t.limiters { // in random order
		if len(t.limiters) < maxRecords {
			return
		}
		delete(t.limiters, a)
	}
}
