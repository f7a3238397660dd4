package api

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

func TestRateLimits(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	limits := RateLimits{User: 3, Address: 2}
	c := newCloud(t, func(cfg *Config) {
		cfg.Now = func() time.Time { return now }
		cfg.RateLimits = func() RateLimits { return limits }
	})
	ask := func(user, path, want string) {
		t.Helper()
		a := c.as(user, "GET", path, nil)
		h := a.header
		if got := fmt.Sprint(a.status, h["X-Ratelimit-Limit"], h["X-Ratelimit-Remaining"]); got != want {
			t.Errorf("%q %s: %s, want %s", user, path, got, want)
		}
		if a.status == http.StatusTooManyRequests {
			a.fails(cf.ErrRateLimit, "")
			if h.Get("Retry-After") != "61" || h.Get("X-Ratelimit-Reset") != fmt.Sprint(now.Add(ratePeriod).Unix()) {
				t.Errorf("header %v", h)
			}
		}
	}
	ask("jane", "/v3/apps", "200 [3] [2]")
	ask("jane", "/v3/apps", "200 [3] [1]")
	ask("jane", "/v3/apps", "200 [3] [0]")
	ask("jane", "/v3/apps", "429 [3] [0]")
	ask("john", "/v3/apps", "200 [3] [2]") // another user
	for range 9 {
		ask("admin", "/v3/apps", "200 [] []") // is not limited
	}
	ask("", "/v3/info", "200 [2] [1]")
	ask("forged", "/v3/apps", "401 [2] [0]") // by address, as nobody
	ask("", "/v3/apps", "429 [2] [0]")
	ask("john", "/v3/apps", "200 [3] [1]") // of the same address, with a token
	now = now.Add(ratePeriod)
	ask("jane", "/v3/apps", "200 [3] [2]")
	limits = RateLimits{}
	ask("", "/v3/info", "200 [] []")
}

func TestRateLimiterIsBounded(t *testing.T) {
	l, now := newLimiter(), time.Unix(1e9, 0)
	for i := range 2 * maxCounters {
		l.take(fmt.Sprint(i), 1, now)
	}
	if n := len(l.counters); n > maxCounters {
		t.Errorf("%d counters", n)
	}
}
