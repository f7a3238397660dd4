package api

import (
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/stackato/stackato/internal/clientaddr"
)

// RateLimits bound requests in a minute, on this controller; 0 is no bound.
type RateLimits struct {
	User    int // of one user or client
	Address int // of one address, without a valid token
}

const (
	ratePeriod = time.Minute
	// maxCounters bounds what is remembered; the oldest are nobody's loss.
	maxCounters = 20_000
)

// scopeAdmin is the scope of administrators, who are not limited.
const scopeAdmin = "cloud_controller.admin"

// limiter counts requests in periods, as Cloud Foundry does.
type limiter struct {
	mu       sync.Mutex
	counters map[string]*counter
	swept    time.Time
}

type counter struct {
	n     int
	until time.Time // the end of its period
}

func newLimiter() *limiter { return &limiter{counters: map[string]*counter{}} }

// take counts a request. It returns how many more there may be, negative for
// one too many, and when the period ends.
func (l *limiter) take(key string, limit int, now time.Time) (remaining int, reset time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.counters[key]
	switch {
	case c == nil:
		l.makeRoom(now)
		c = &counter{until: now.Add(ratePeriod)}
		l.counters[key] = c
	case !now.Before(c.until):
		*c = counter{until: now.Add(ratePeriod)}
	}
	c.n = min(c.n+1, limit+1)
	return limit - c.n, c.until
}

// makeRoom forgets periods that are over, and else anyone.
func (l *limiter) makeRoom(now time.Time) {
	if len(l.counters) < maxCounters {
		return
	}
	if now.Sub(l.swept) >= time.Second {
		l.swept = now
		for key, c := range l.counters {
			if !now.Before(c.until) {
				delete(l.counters, key)
			}
		}
	}
	for key := range l.counters { // in random order
		if len(l.counters) < maxCounters {
			return
		}
		delete(l.counters, key)
	}
}

// limit counts a request, known by its valid token or else by its address,
// says so in the header, and reports whether it is one too many.
func (a *API) limit(header http.Header, r *http.Request, user *Identity) bool {
	limits := a.RateLimits()
	limit := limits.Address
	var key string
	switch {
	case user == nil:
		key = "address " + clientaddr.Of(r)
	case slices.Contains(user.Scopes, scopeAdmin):
		return false
	case user.UserID != "":
		key, limit = "user "+user.UserID, limits.User
	default:
		key, limit = "client "+user.ClientID, limits.User
	}
	if limit <= 0 {
		return false
	}
	now := a.Now()
	remaining, reset := a.limiter.take(key, limit, now)
	header.Set("X-Ratelimit-Limit", strconv.Itoa(limit))
	header.Set("X-Ratelimit-Remaining", strconv.Itoa(max(remaining, 0)))
	header.Set("X-Ratelimit-Reset", strconv.FormatInt(reset.Unix(), 10))
	if remaining >= 0 {
		return false
	}
	header.Set("Retry-After", strconv.Itoa(int(reset.Sub(now)/time.Second)+1))
	return true
}
