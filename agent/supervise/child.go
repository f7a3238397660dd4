package supervise

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// End is what Run does with a living process when its context ends.
type End int32

// The two ends. An agent that is restarted or upgraded detaches; a node that
// is switched off or leaves stops its children.
const (
	Detach End = iota + 1 // leave it running for the next agent to adopt
	Stop                  // StopSignal, grace, SIGKILL
)

// Options are what Run needs besides the spec.
type Options struct {
	// End is required. AtEnd can change it later.
	End End
	// Ready, if set, is asked until it returns nil after each start; the
	// child is Starting until then. It must honour its context, which ends
	// after 5 s or with the process.
	Ready func(context.Context) error
	// Prepare, if set, runs before each start of a process, for what must be
	// true of its files. An error counts like a death of the child.
	Prepare func() error
	Log     *slog.Logger // default slog.Default
}

// ErrEnded is returned by calls on a child whose Run has ended.
var ErrEnded = errors.New("the supervisor of this child has ended")

// Child is one supervised program. All methods may be called concurrently.
// Start, Stop, StopBy, Leave, Restart, Update and Signal are carried out by Run, in order:
// before Run begins they wait for it, after it ended they return ErrEnded.
// When their context ends first they return its error and what they asked for
// may still happen.
type Child struct {
	spec    Spec // owned by Run
	opts    Options
	end     atomic.Int32
	started atomic.Bool
	cmds    chan command
	done    chan struct{}

	mu      sync.Mutex
	status  Status
	changed chan struct{} // closed and replaced at each change of status
}

// New checks spec and options. It starts nothing.
func New(spec Spec, opts Options) (*Child, error) {
	spec = spec.withDefaults()
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	if opts.End != Detach && opts.End != Stop {
		return nil, errors.New("child " + spec.Name + ": Options.End must say Detach or Stop")
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	c := &Child{
		spec:    spec,
		opts:    opts,
		cmds:    make(chan command),
		done:    make(chan struct{}),
		changed: make(chan struct{}),
		status:  Status{Name: spec.Name, State: Stopped, Since: time.Now(), LogFile: spec.LogFile},
	}
	c.opts.Log = opts.Log.With("child", spec.Name)
	c.end.Store(int32(opts.End))
	return c, nil
}

// AtEnd sets what happens to the process when the context of Run ends.
func (c *Child) AtEnd(e End) { c.end.Store(int32(e)) }

// Status returns the present status.
func (c *Child) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// Await waits until want accepts the status and returns it. It returns the
// last status with an error when ctx or Run ends first.
func (c *Child) Await(ctx context.Context, want func(Status) bool) (Status, error) {
	for {
		c.mu.Lock()
		st, changed := c.status, c.changed
		c.mu.Unlock()
		if want(st) {
			return st, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return st, ctx.Err()
		case <-c.done:
			if st := c.Status(); want(st) {
				return st, nil
			}
			return st, ErrEnded
		}
	}
}

// AwaitReady waits until the process runs and is ready.
func (c *Child) AwaitReady(ctx context.Context) error {
	st, err := c.Await(ctx, func(s Status) bool { return s.State == Running || s.State == Failed })
	if err == nil && st.State == Running {
		return nil
	}
	return &NotReadyError{Status: st, Cause: err}
}

// Start wants the child to run and starts it at once if it does not, without
// waiting for a back-off to pass. It does not wait for readiness.
func (c *Child) Start(ctx context.Context) error { return c.send(ctx, command{kind: cmdStart}) }

// Stop ends the process and keeps it ended until Start, Restart or Update.
// It returns when the process is gone.
func (c *Child) Stop(ctx context.Context) error { return c.send(ctx, command{kind: cmdStop}) }

// Leave is Stop for a program that takes its leave of others first: leave is
// called with ctx in place of the stop signal, and the process has the grace time
// to end after it returned. When leave fails, the process is stopped as by Stop
// and the error is returned. Without a process leave is not called.
func (c *Child) Leave(ctx context.Context, leave func(context.Context) error) error {
	return c.send(ctx, command{kind: cmdStop, leave: func() error { return leave(ctx) }})
}

// StopBy is Stop for a program that takes its leave of others on the signal
// sig. StopSignal and SIGKILL follow, each after the grace time.
func (c *Child) StopBy(ctx context.Context, sig syscall.Signal) error {
	return c.send(ctx, command{kind: cmdStop, sig: sig})
}

// Restart ends the process, if there is one, and starts it anew.
func (c *Child) Restart(ctx context.Context) error { return c.send(ctx, command{kind: cmdRestart}) }

// Update replaces the spec. A running process is restarted, with its grace
// time, only when it would differ (Path, Args, Env, Dir, LogFile or ConfigHash, or
// the executable file was replaced). A stopped child stays stopped, one that
// was given up is started. Name and PIDFile cannot change.
func (c *Child) Update(ctx context.Context, spec Spec) error {
	spec = spec.withDefaults()
	if err := spec.Validate(); err != nil {
		return err
	}
	return c.send(ctx, command{kind: cmdUpdate, spec: spec})
}

// Signal sends sig to the process, such as SIGHUP to read its files again. It
// is an error when there is no process.
func (c *Child) Signal(ctx context.Context, sig syscall.Signal) error {
	return c.send(ctx, command{kind: cmdSignal, sig: sig})
}

// set changes the status and wakes the waiting.
func (c *Child) set(change func(*Status)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.status.State
	change(&c.status)
	if c.status.State != before {
		c.status.Since = time.Now()
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// NotReadyError says why a child is not ready.
type NotReadyError struct {
	Status Status
	Cause  error // context error or ErrEnded; nil when the child was given up
}

// Error tells the state, the reason and where to read on.
func (e *NotReadyError) Error() string {
	s := e.Status
	msg := s.Name + " is not ready (" + string(s.State) + ")"
	if s.Error != "" {
		msg += ": " + s.Error
	} else if s.LastExit != "" {
		msg += ": last exit: " + s.LastExit
	}
	if n := len(s.LastLog); n > 0 {
		msg += ": " + s.LastLog[n-1]
	}
	return msg + "; read " + s.LogFile
}

// Unwrap returns the cause.
func (e *NotReadyError) Unwrap() error { return e.Cause }
