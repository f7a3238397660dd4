package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// errStalled ends a transfer in which nothing moves: how long one may take as
// a whole cannot be said.
var errStalled = errors.New("the transfer stalled")

// stallWatch ends a context when its readers read nothing for a while.
type stallWatch struct {
	ctx   context.Context
	after time.Duration
	timer *time.Timer
}

func watchStall(parent context.Context, after time.Duration) (*stallWatch, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	w := &stallWatch{ctx: ctx, after: after}
	w.timer = time.AfterFunc(after, func() { cancel(fmt.Errorf("%w for %v", errStalled, after)) })
	return w, func() {
		w.timer.Stop()
		cancel(context.Canceled)
	}
}

// reader counts what is read from r as movement.
func (w *stallWatch) reader(r io.Reader) io.Reader { return &movingReader{w, r} }

// explain names the stall where an error is its consequence.
func (w *stallWatch) explain(err error) error {
	if cause := context.Cause(w.ctx); err != nil && !errors.Is(err, io.EOF) && errors.Is(cause, errStalled) {
		return cause
	}
	return err
}

type movingReader struct {
	w *stallWatch
	r io.Reader
}

func (m *movingReader) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.w.timer.Reset(m.w.after)
	return n, err
}
