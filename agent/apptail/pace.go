package apptail

import (
	"context"
	"time"

	"golang.org/x/time/rate"
)

// pace bounds how fast the output of a container is read. Reading costs the
// agent and the engine CPU time that is not the app's: one that writes short
// lines as fast as it can would take more of it than it has itself. What comes
// faster for long is lost, as the engine keeps little of it.
type pace struct {
	limiter *rate.Limiter
	told    time.Time // that lines may be lost
}

const (
	// paceBurst is how many seconds' worth may come at once.
	paceBurst = 5
	// paceBytes of a frame cost as much as a line more.
	paceBytes = 1 << 10
	paceNap   = 100 * time.Millisecond
	paceTell  = time.Minute
)

func newPace(linesPerSecond int) pace {
	return pace{limiter: rate.NewLimiter(rate.Limit(linesPerSecond), paceBurst*linesPerSecond)}
}

// hold returns when the next frame may be read after fr, and whether it had to
// wait. Of a container that has ended not much is left: it is read at once.
func (p *pace) hold(ctx context.Context, fr frame, ended <-chan struct{}) (waited bool) {
	cost := min(1+len(fr.data)/paceBytes, p.limiter.Burst())
	for !p.limiter.AllowN(time.Now(), cost) {
		select {
		case <-ctx.Done():
			return waited
		case <-ended:
			return waited
		case <-time.After(paceNap):
			waited = true
		}
	}
	return waited
}

// tell reports whether it is time to say that lines may be lost.
func (p *pace) tell(now time.Time) bool {
	if now.Sub(p.told) < paceTell {
		return false
	}
	p.told = now
	return true
}
