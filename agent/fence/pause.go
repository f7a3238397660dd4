package fence

import (
	"context"
	"math/rand/v2"
	"time"
)

// pauses are the waits between attempts: they double up to a limit and have
// jitter, so that nodes do not come back in step.
type pauses struct {
	first, next time.Duration
}

// maxPause is the longest wait between two attempts.
const maxPause = 5 * time.Second

func (f *Fence) pauses() *pauses { return &pauses{first: f.cfg.Timing.Retry, next: f.cfg.Timing.Retry} }

func (p *pauses) reset() { p.next = p.first }

// wait returns nil after the next pause, or the error of ctx.
func (p *pauses) wait(ctx context.Context) error {
	d := p.next/2 + rand.N(p.next/2+1)
	p.next = min(2*p.next, maxPause)
	return sleep(ctx, d)
}

// sleep returns nil after d, or the error of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
