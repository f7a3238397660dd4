package supervise

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a living process of a child, started here or adopted.
type process struct {
	pid     int
	pidfd   *os.File
	own     bool // it is our child in the kernel's sense, so we reap it
	started time.Time

	// exited is closed when the process is gone (then exit says how) or when
	// release was called.
	exited chan struct{}
	exit   string
}

// startProcess starts s and writes its pid file.
func startProcess(s Spec) (*process, error) {
	logFile, err := openLog(s.LogFile)
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()

	fd := -1
	p, err := os.StartProcess(s.Path, append([]string{s.Path}, s.Args...), &os.ProcAttr{
		Dir:   s.Dir,
		Env:   s.environ(),
		Files: []*os.File{null, logFile, logFile},
		Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &fd},
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	pid := p.Pid
	_ = p.Release() // we wait through our own pidfd
	proc, err := newProcess(pid, fd, true, time.Now())
	if err == nil {
		err = writePID(s, proc)
	}
	if err != nil {
		// Without its pid file a later agent might not find it.
		_ = syscall.Kill(pid, syscall.SIGKILL)
		_, _ = unix.Wait4(pid, nil, 0, nil)
		if proc != nil {
			proc.release()
		}
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	return proc, nil
}

func writePID(s Spec, p *process) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	st, err := readStat(p.pid)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.PIDFile), 0o755); err != nil {
		return err
	}
	return record{PID: p.pid, Start: st.start, Boot: boot, Identity: s.identity(), At: p.started}.write(s.PIDFile)
}

// adoptProcess finds the living process of an earlier agent. It returns nil
// when there is none. same is false when the process must be restarted to
// become s.
func adoptProcess(s Spec) (p *process, same bool) {
	if p, same := adoptRecorded(s); p != nil {
		return p, same
	}
	pid, ok := findMarked(s)
	if !ok {
		return nil, false
	}
	st, err := readStat(pid)
	if err != nil {
		return nil, false
	}
	// Which configuration it read is not known.
	return openProcess(pid, st.start, time.Now()), false
}

func adoptRecorded(s Spec) (p *process, same bool) {
	r, err := readRecord(s.PIDFile)
	if err != nil {
		return nil, false
	}
	if boot, err := bootID(); err != nil || boot != r.Boot {
		return nil, false
	}
	p = openProcess(r.PID, r.Start, r.At)
	if p == nil {
		return nil, false
	}
	return p, r.Identity == s.identity() && runsFile(p.pid, s.Path)
}

// openProcess takes hold of process pid if it still is the one that began at
// start ticks, nil if not.
func openProcess(pid int, start uint64, at time.Time) *process {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil
	}
	// Checked after the pidfd is held: from here the number cannot change hands.
	st, err := readStat(pid)
	if err != nil || st.start != start || st.dead() {
		unix.Close(fd)
		return nil
	}
	p, err := newProcess(pid, fd, st.parent == os.Getpid(), at)
	if err != nil {
		return nil
	}
	return p
}

// newProcess begins to watch a process and owns fd, also on error.
func newProcess(pid, fd int, own bool, started time.Time) (*process, error) {
	if fd < 0 {
		return nil, errors.New("the kernel gives no pidfd: Linux 5.4 or later is needed")
	}
	// Non-blocking descriptors are served by Go's poller: no thread waits.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	p := &process{
		pid: pid, pidfd: os.NewFile(uintptr(fd), "pidfd"), own: own, started: started,
		exited: make(chan struct{}),
	}
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		p.pidfd.Close()
		return nil, err
	}
	go p.watch(raw)
	return p, nil
}

// watch waits until the process is gone or the pidfd is closed.
func (p *process) watch(raw syscall.RawConn) {
	defer close(p.exited)
	err := raw.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0 || (err != nil && !errors.Is(err, unix.EINTR))
	})
	if err != nil {
		return // released
	}
	p.exit = p.reap()
}

// reap collects the exit status if the process is our child. A zombie keeps
// its number, so pid is still the same process.
func (p *process) reap() string {
	if !p.own {
		return "ended (exit status unknown: it was started by an earlier agent)"
	}
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(p.pid, &ws, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return "ended (exit status unknown: " + err.Error() + ")"
		}
		break
	}
	switch {
	case ws.Exited():
		return fmt.Sprintf("exit status %d", ws.ExitStatus())
	case ws.CoreDump():
		return "signal: " + ws.Signal().String() + " (core dumped)"
	default:
		return "signal: " + ws.Signal().String()
	}
}

// signal sends sig to exactly this process; one that is gone is no error.
func (p *process) signal(sig syscall.Signal) error {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), sig, nil, 0) })
	if err == nil {
		err = sent
	}
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// gone reports whether the process has ended.
func (p *process) gone() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// release ends the watch and leaves the process alone. It waits for the
// watching goroutine.
func (p *process) release() {
	p.pidfd.Close()
	<-p.exited
}
