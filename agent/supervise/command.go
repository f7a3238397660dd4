package supervise

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

type commandKind int

const (
	cmdStart commandKind = iota
	cmdStop
	cmdRestart
	cmdUpdate
	cmdSignal
)

type command struct {
	kind  commandKind
	spec  Spec           // cmdUpdate
	sig   syscall.Signal // cmdSignal; cmdStop: 0 or what to send first
	leave func() error   // cmdStop, may be nil
	reply chan error     // buffered
}

func (c *Child) send(ctx context.Context, cmd command) error {
	cmd.reply = make(chan error, 1)
	select {
	case c.cmds <- cmd:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
		return ErrEnded
	}
	select {
	case err := <-cmd.reply:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// do carries out a command.
func (l *loop) do(cmd command) error {
	switch cmd.kind {
	case cmdStart:
		return l.wanted()
	case cmdStop:
		l.want = false
		if cmd.sig != 0 {
			cmd.leave = func() error { return l.proc.signal(cmd.sig) }
		}
		return l.stop(cmd.leave)
	case cmdRestart:
		if err := l.stop(nil); err != nil {
			return err
		}
		return l.wanted()
	case cmdUpdate:
		return l.update(cmd.spec)
	case cmdSignal:
		if l.proc == nil || l.proc.gone() {
			return fmt.Errorf("%s does not run", l.spec.Name)
		}
		return l.proc.signal(cmd.sig)
	}
	return fmt.Errorf("unknown command %d", cmd.kind)
}

// wanted starts at once. The error is that of the first attempt; later ones
// follow with back-off.
func (l *loop) wanted() error {
	l.want, l.deaths = true, 0
	if l.proc != nil {
		return nil
	}
	l.start()
	if l.proc == nil {
		return errors.New(l.Status().Error)
	}
	return nil
}

func (l *loop) update(spec Spec) error {
	if spec.Name != l.spec.Name || spec.PIDFile != l.spec.PIDFile {
		return fmt.Errorf("child %s: name and pid file cannot change", l.spec.Name)
	}
	differs := spec.identity() != l.spec.identity() ||
		(l.proc != nil && !runsFile(l.proc.pid, spec.Path))
	l.spec = spec
	l.set(func(s *Status) { s.LogFile = spec.LogFile })
	if l.Status().State == Failed {
		return l.wanted()
	}
	if !differs || !l.want {
		return nil
	}
	l.opts.Log.Info("restarting for a new configuration")
	if err := l.stop(nil); err != nil {
		return err
	}
	return l.wanted()
}

// finish does what End says.
func (l *loop) finish() error {
	l.retry.Stop()
	if l.proc != nil && End(l.Child.end.Load()) == Detach {
		l.detach()
		l.set(func(s *Status) { s.State = Detached })
		return nil
	}
	l.want = false
	return l.stop(nil)
}

// stop ends the process if there is one: by leave if it is given, then by the
// stop signal, then by SIGKILL. The process is gone when it returns nil or the
// error of leave.
func (l *loop) stop(leave func() error) error {
	l.retry.Stop()
	var leaveErr error
	if l.proc != nil {
		l.set(func(s *Status) { s.State = Stopping })
		left := false
		if leave != nil {
			leaveErr = leave()
			left = leaveErr == nil
		}
		if err := l.terminate(left); err != nil {
			l.set(func(s *Status) { s.Error = err.Error() })
			return err
		}
		l.buried(Stopped)
	}
	l.set(func(s *Status) { s.State, s.NextStart, s.Error = Stopped, time.Time{}, "" })
	return leaveErr
}

// terminate makes the process end. One that is leaving gets the grace time
// before the signal, too.
func (l *loop) terminate(leaving bool) error {
	grace := l.spec.StopGrace
	if leaving && l.goneWithin(grace) {
		return nil
	}
	for end := time.Now().Add(grace); ; {
		if err := l.proc.signal(l.spec.StopSignal); err != nil {
			return fmt.Errorf("stop %s: %w", l.spec.Name, err)
		}
		left := time.Until(end)
		if again := l.spec.StopAgain; again > 0 && again < left {
			if l.goneWithin(again) {
				return nil
			}
			continue
		}
		if l.goneWithin(left) {
			return nil
		}
		break
	}
	l.opts.Log.Warn("did not stop in its grace time, killing it", "pid", l.proc.pid, "grace", grace)
	if err := l.proc.signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", l.spec.Name, err)
	}
	if l.goneWithin(killWithin) {
		return nil
	}
	return fmt.Errorf("%s (pid %d) does not die although it was killed: it hangs in the kernel, look at its disk",
		l.spec.Name, l.proc.pid)
}

func (l *loop) goneWithin(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-l.proc.exited:
		return true
	case <-t.C:
		return l.proc.gone()
	}
}
