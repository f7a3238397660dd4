package uaa

import (
	"maps"
	"sync"
	"time"
)

// lockout counts failed log-ins by user, as UAA: after so many within the
// period the user is locked until the period is over. It lives in this
// controller's memory: each controller counts for itself.
type lockout struct {
	failures int
	period   time.Duration

	mu    sync.Mutex
	users map[string]*record
	swept time.Time
}

type record struct {
	count int
	last  time.Time
}

// maxRecords bounds the memory that a guesser of names can take.
const maxRecords = 20_000

func newLockout(failures int, period time.Duration) *lockout {
	return &lockout{failures: failures, period: period, users: map[string]*record{}}
}

// locked says whether the user may not try now.
func (l *lockout) locked(user string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.users[user]
	return r != nil && r.count >= l.failures && now.Sub(r.last) < l.period
}

// failed counts a failure and says whether it locked the user.
func (l *lockout) failed(user string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.users[user]
	if r == nil {
		l.makeRoom(now)
		r = &record{}
		l.users[user] = r
	}
	if now.Sub(r.last) >= l.period {
		r.count = 0
	}
	r.count++
	r.last = now
	return r.count == l.failures
}

func (l *lockout) succeeded(user string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.users, user)
}

// makeRoom forgets what is over, now and then, and else somebody: one who is
// not locked, if a few looks find one. So a flood of names costs little time
// and unlocks hardly anyone.
func (l *lockout) makeRoom(now time.Time) {
	if len(l.users) < maxRecords {
		return
	}
	if now.Sub(l.swept) >= l.period/4 {
		l.swept = now
		maps.DeleteFunc(l.users, func(_ string, r *record) bool { return now.Sub(r.last) >= l.period })
	}
	looks := 0
	for name, r := range l.users { // in random order
		if len(l.users) < maxRecords {
			return
		}
		if looks++; r.count < l.failures || looks > 100 {
			delete(l.users, name)
		}
	}
}
