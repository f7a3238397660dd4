package uaa

import (
	"maps"
	"net"
	"net/http"
	"strings"
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

// clientAddress is who sent the request: routers append it to
// X-Forwarded-For, and nobody but routers can connect. An IPv6 client is
// known by its /64, of which it can use any address.
func clientAddress(r *http.Request) string {
	address := r.RemoteAddr
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	if values := r.Header.Values("X-Forwarded-For"); len(values) > 0 {
		last := values[len(values)-1]
		address = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
	}
	ip := net.ParseIP(address)
	if ip == nil {
		return "unknown"
	}
	if ip.To4() == nil {
		ip = ip.Mask(net.CIDRMask(64, 128))
	}
	return ip.String()
}
