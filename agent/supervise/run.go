package supervise

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// How often Run looks at the size of the log, how often a readiness check is
// repeated and how long one may take, and how long a killed process may take
// to vanish.
const (
	logCheckEvery = 5 * time.Second
	readyEvery    = 100 * time.Millisecond
	readyWithin   = 5 * time.Second
	killWithin    = 10 * time.Second
)

// loop is the state of Run; only its goroutine touches it.
type loop struct {
	*Child
	want   bool // somebody wants the child to run
	proc   *process
	deaths int   // in a row
	logAt  int64 // size of the log when proc started

	retry  *time.Timer // next start, in state Waiting
	stable *time.Timer // proc has run long enough

	probeEnd context.CancelFunc
	probes   sync.WaitGroup
	ready    chan error // what the probe of proc found
}

// Run adopts or starts the process and keeps it running until ctx ends; then
// it does what End says and returns nil, or an error when the process could
// not be stopped. It may be called once.
func (c *Child) Run(ctx context.Context) error {
	if !c.started.CompareAndSwap(false, true) {
		return errors.New("child " + c.spec.Name + ": Run was called twice")
	}
	defer close(c.done)
	l := &loop{Child: c, want: true, retry: idleTimer(), stable: idleTimer()}
	defer l.retry.Stop()
	defer l.stable.Stop()
	logCheck := time.NewTicker(logCheckEvery)
	defer logCheck.Stop()

	l.adopt()
	if l.proc == nil {
		l.start()
	}
	for {
		var exited <-chan struct{}
		if l.proc != nil {
			exited = l.proc.exited
		}
		select {
		case <-ctx.Done():
			return l.finish()
		case cmd := <-c.cmds:
			cmd.reply <- l.do(cmd)
		case <-exited:
			l.died()
		case err := <-l.ready:
			l.probed(err)
		case <-l.retry.C:
			l.start()
		case <-l.stable.C:
			l.deaths = 0
		case <-logCheck.C:
			l.rotateLog()
		}
	}
}

func idleTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// adopt takes over the process of an earlier agent, and ends it first when it
// has an old configuration or executable.
func (l *loop) adopt() {
	p, same := adoptProcess(l.spec)
	if p == nil {
		return
	}
	l.opts.Log.Info("found running", "pid", p.pid, "same_configuration", same)
	if same {
		l.attach(p, true)
		return
	}
	// It is never shown as running: nobody may take it for the new one.
	l.proc = p
	l.set(func(s *Status) { s.State, s.PID, s.StartedAt, s.Adopted = Stopping, p.pid, p.started, true })
	if err := l.stop(nil); err != nil {
		l.opts.Log.Error("cannot stop the old process", "err", err)
	}
}

// start begins a process, or arranges the next attempt.
func (l *loop) start() {
	l.retry.Stop()
	if l.proc != nil || !l.want {
		return
	}
	l.rotateLog()
	at := fileSize(l.spec.LogFile)
	var p *process
	err := l.prepare()
	if err == nil {
		p, err = startProcess(l.spec)
	}
	if err != nil {
		l.set(func(s *Status) { s.Error = err.Error() })
		l.again()
		return
	}
	l.logAt = at
	l.opts.Log.Info("started", "pid", p.pid)
	l.attach(p, false)
}

func (l *loop) prepare() error {
	if l.opts.Prepare == nil {
		return nil
	}
	if err := l.opts.Prepare(); err != nil {
		return fmt.Errorf("prepare %s: %w", l.spec.Name, err)
	}
	return nil
}

// attach makes p the process of the child and begins to ask whether it is ready.
func (l *loop) attach(p *process, adopted bool) {
	l.proc = p
	l.stable.Reset(l.spec.Backoff.Reset)
	state := Running
	if l.opts.Ready != nil {
		state = Starting
		l.startProbe(p)
	}
	l.set(func(s *Status) {
		s.State, s.PID, s.StartedAt, s.Adopted = state, p.pid, p.started, adopted
		s.NextStart, s.Error = time.Time{}, ""
	})
}

// startProbe asks for readiness in a goroutine until it is there or the
// process ends.
func (l *loop) startProbe(p *process) {
	ctx, cancel := context.WithCancel(context.Background())
	l.probeEnd = cancel
	ready := make(chan error)
	l.ready = ready
	l.probes.Go(func() {
		tick := time.NewTicker(readyEvery)
		defer tick.Stop()
		var last string
		for {
			one, done := context.WithTimeout(ctx, readyWithin)
			err := l.opts.Ready(one)
			done()
			if err == nil || err.Error() != last {
				select {
				case ready <- err:
				case <-ctx.Done():
					return
				}
			}
			if err == nil {
				return
			}
			last = err.Error()
			select {
			case <-tick.C:
			case <-p.exited:
				return
			case <-ctx.Done():
				return
			}
		}
	})
}

// probed takes over the result of a readiness check.
func (l *loop) probed(err error) {
	if err != nil {
		l.set(func(s *Status) { s.Error = "not ready: " + err.Error() })
		return
	}
	l.ready = nil
	l.opts.Log.Info("ready", "pid", l.proc.pid, "after", time.Since(l.Status().Since).Round(time.Millisecond))
	l.set(func(s *Status) { s.State, s.Error = Running, "" })
}

// detach lets go of the process, alive or dead, and ends its probe.
func (l *loop) detach() {
	if l.probeEnd != nil {
		l.probeEnd()
		l.probes.Wait()
		l.probeEnd = nil
	}
	l.ready = nil
	l.stable.Stop()
	l.proc.release()
	l.proc = nil
}

// buried notes how the process ended and forgets it.
func (l *loop) buried(state State) {
	exit, lines := l.proc.exit, tail(l.spec.LogFile, l.logAt)
	l.detach()
	l.set(func(s *Status) {
		s.State, s.PID, s.Adopted, s.Error = state, 0, false, ""
		s.LastExit, s.LastExitAt, s.LastLog = exit, time.Now(), lines
		if state == Waiting {
			s.Restarts++
		}
	})
}

// died deals with an end that nobody asked for.
func (l *loop) died() {
	if !l.want { // it did not obey in time when it was stopped
		l.buried(Stopped)
		return
	}
	ran := time.Since(l.proc.started)
	l.buried(Waiting)
	l.opts.Log.Warn("died", "exit", l.Status().LastExit, "ran", ran.Round(time.Millisecond))
	l.again()
}

// again arranges the next start, or gives up.
func (l *loop) again() {
	l.deaths++
	b := l.spec.Backoff
	if b.Limit > 0 && l.deaths >= b.Limit {
		l.want = false
		l.opts.Log.Error("given up", "deaths_in_a_row", l.deaths)
		l.set(func(s *Status) {
			s.State = Failed
			if s.Error == "" {
				s.Error = fmt.Sprintf("ended %d times in a row, the last time with %s", l.deaths, s.LastExit)
			}
		})
		return
	}
	wait := b.delay(l.deaths)
	l.retry.Reset(wait)
	l.set(func(s *Status) { s.State, s.NextStart = Waiting, time.Now().Add(wait) })
}

// delay is the wait after the given number of deaths in a row (1 or more).
func (b Backoff) delay(deaths int) time.Duration {
	d := b.Base
	for i := 1; i < deaths && d < b.Max; i++ {
		d *= 2
	}
	d = min(d, b.Max)
	return d - d/5 + rand.N(2*d/5+1)
}

func (l *loop) rotateLog() {
	if err := rotate(l.spec.LogFile, l.spec.LogMaxBytes, l.spec.LogKeep); err != nil {
		l.opts.Log.Warn("log file not rotated", "err", err)
	}
}
