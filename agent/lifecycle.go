package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// lifecycle runs parts that were started in order and stops them in reverse
// order: a part is told to stop only when those that were started after it,
// and may need it, have ended.
type lifecycle struct {
	parent context.Context
	failed chan error // the first part that ended by itself

	mu    sync.Mutex
	parts []*part
}

type part struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid after done
}

func newLifecycle(ctx context.Context) *lifecycle {
	return &lifecycle{parent: context.WithoutCancel(ctx), failed: make(chan error, 1)}
}

// start runs a part until its context ends. A part that ends before that is a
// failure of the whole, except that a nil error from it is fine.
func (l *lifecycle) start(name string, run func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(l.parent)
	p := &part{name: name, cancel: cancel, done: make(chan struct{})}
	l.mu.Lock()
	l.parts = append(l.parts, p)
	l.mu.Unlock()
	go func() {
		defer close(p.done)
		p.err = run(ctx)
		if p.err != nil && ctx.Err() == nil {
			select {
			case l.failed <- fmt.Errorf("%s: %w", name, p.err):
			default: // an earlier failure is being dealt with
			}
		}
	}()
}

// stop ends all parts, the newest first, and returns their errors.
func (l *lifecycle) stop() error {
	l.mu.Lock()
	parts := l.parts
	l.parts = nil
	l.mu.Unlock()
	var errs []error
	for i := len(parts) - 1; i >= 0; i-- {
		p := parts[i]
		p.cancel()
		<-p.done
		if p.err != nil && !errors.Is(p.err, context.Canceled) {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, p.err))
		}
	}
	return errors.Join(errs...)
}
