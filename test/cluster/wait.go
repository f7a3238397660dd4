package cluster

import (
	"context"
	"fmt"
	"time"
)

// WaitFor calls cond until it returns nil, every 20 ms at first and every
// 200 ms later. When ctx ends (without a deadline: after two minutes) it
// returns an error that names what was waited for and cond's last error.
func (c *Cluster) WaitFor(ctx context.Context, what string, cond func() error) error {
	return poll(ctx, 20*time.Millisecond, what, cond)
}

func poll(ctx context.Context, pause time.Duration, what string, cond func() error) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultTimeout)
		defer cancel()
	}
	start := time.Now()
	for {
		last := cond()
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s for %s: %w", time.Since(start).Round(10*time.Millisecond), what, last)
		case <-time.After(pause):
		}
		pause = min(pause*5/4, 200*time.Millisecond)
	}
}
