package apptail

import (
	"bytes"
	"time"

	"golang.org/x/time/rate"

	"github.com/stackato/stackato/wire/logs"
)

// partial is a line whose end has not come yet.
type partial struct {
	data    []byte // at most logs.MaxLine bytes, and the byte that shows that it was more
	dropped int64  // bytes beyond that
	time    int64  // of its first frame
	begun   time.Time
}

func (p *partial) empty() bool { return p.begun.IsZero() }

func (p *partial) add(f frame, now time.Time) {
	if p.empty() {
		p.time, p.begun = f.time, now
	}
	text := bytes.TrimSuffix(f.data, []byte("\n"))
	room := min(len(text), logs.MaxLine+1-len(p.data))
	p.data = append(p.data, text[:room]...)
	p.dropped += int64(len(text) - room)
}

// take returns the line and starts anew.
func (p *partial) take() (message []byte, at int64) {
	message, at = bytes.TrimSuffix(p.data, []byte("\r")), p.time
	if len(message) > logs.MaxLine {
		message = cut(message, p.dropped)
	}
	*p = partial{}
	return message, at
}

// throttle holds an instance to its bytes of log a second. Time is that of the
// lines, so that a backlog is not punished for being read quickly.
type throttle struct {
	limiter *rate.Limiter // nil: unlimited
	dropped int64         // lines, since the last report
	since   time.Time     // of the first of them, by the clock
}

func newThrottle(bytesPerSecond int64) throttle {
	if bytesPerSecond < 0 {
		return throttle{}
	}
	// A line that may be written at all must fit in the bucket, even where it is
	// as long as several seconds' worth. Without any budget it stays empty.
	burst := 0
	if bytesPerSecond > 0 {
		burst = int(max(bytesPerSecond, logs.MaxLine))
	}
	return throttle{limiter: rate.NewLimiter(rate.Limit(bytesPerSecond), burst)}
}

// admit says whether a line of n bytes may pass; else it is counted.
func (t *throttle) admit(at int64, n int, now time.Time) bool {
	if t.limiter == nil || t.limiter.AllowN(time.Unix(0, at), max(n, 1)) {
		return true
	}
	if t.dropped++; t.dropped == 1 {
		t.since = now
	}
	return false
}
