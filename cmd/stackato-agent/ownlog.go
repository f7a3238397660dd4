package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Bounds of the agent's own log, as those of its children.
const (
	ownLogBytes = 10 << 20
	ownLogKeep  = 3 // set aside, as agent.log.1 and so on
	ownLogCheck = time.Minute
)

// ownLog is the agent's log where it is a file in the node's own folder of logs,
// as on a micro cloud. Where it is anything else, such as the journal, somebody
// else looks after it.
type ownLog struct {
	path string // "" where it is none
	log  *slog.Logger
}

// newOwnLog looks where standard error goes, and begins a new file if that is
// large.
func newOwnLog(folder string, log *slog.Logger) ownLog {
	path, err := os.Readlink("/proc/self/fd/2")
	if err != nil {
		return ownLog{}
	}
	folder, err = filepath.EvalSymlinks(folder)
	if err != nil || filepath.Dir(path) != folder {
		return ownLog{}
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return ownLog{}
	}
	l := ownLog{path, log}
	l.check()
	return l
}

// run keeps the log in its bounds until ctx is done.
func (l ownLog) run(ctx context.Context) {
	tick := time.NewTicker(ownLogCheck)
	defer tick.Stop()
	for l.path != "" {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.check()
		}
	}
}

func (l ownLog) check() {
	if err := setAside(l.path); err != nil {
		l.log.Warn("the agent's log is not set aside", "err", err)
	}
}

// setAside renames the log if it is large, and goes on in a new file of that
// name. No line is lost: the descriptors change in one step.
func setAside(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Size() < ownLogBytes {
		return err
	}
	for i := ownLogKeep; i >= 1; i-- {
		from := path
		if i > 1 {
			from += "." + strconv.Itoa(i-1)
		}
		if err := os.Rename(from, path+"."+strconv.Itoa(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, info.Mode().Perm())
	if err != nil {
		return fmt.Errorf("%w (lines go to %s.1)", err, path)
	}
	defer f.Close()
	for _, fd := range []int{1, 2} {
		if at, err := os.Readlink(fmt.Sprint("/proc/self/fd/", fd)); err != nil || at != path+".1" {
			continue // standard output is elsewhere
		}
		if err := syscall.Dup3(int(f.Fd()), fd, 0); err != nil {
			return fmt.Errorf("%w (lines go to %s.1)", err, path)
		}
	}
	return nil
}
