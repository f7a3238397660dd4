package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// What an app may write for long, in lines a second, and what may come at once.
// Each line costs the engine and the agent CPU time of the node, not of the app:
// the launcher, which runs on the app's own, shows them no more than the agent
// reads.
const (
	relayLines = 5_000
	relayBurst = 10 * relayLines
	relayBytes = 1 << 10 // cost as much as a line more
	relayTell  = time.Second
)

// drainWithin bounds how long the last output may take after the app's end.
const drainWithin = 5 * time.Second

// relay passes the output of an app's processes on. Within the budget everything
// goes through as it comes, parts of lines too; beyond it whole lines are dropped
// and counted. It waits only for an engine that does not take what is passed on.
type relay struct {
	streams [2]relayed // standard output, standard error
	running sync.WaitGroup

	mu      sync.Mutex // before that of a stream
	budget  *rate.Limiter
	dropped int64 // lines that were not told yet
	told    time.Time
}

// relayed is one stream. Its fields but in belong to whoever holds mu.
type relayed struct {
	in *os.File // what processes write to

	mu       sync.Mutex
	out      io.Writer
	open     bool // the last line that was passed on has no end yet
	skipping bool // the rest of a line is dropped
}

// newRelay makes the pipes, which belong to the app's user: what opens
// /dev/stdout needs to own it. They are read until finish.
func newRelay(stdout, stderr io.Writer, uid, gid int) (*relay, error) {
	r := &relay{budget: rate.NewLimiter(relayLines, relayBurst)}
	for i, out := range []io.Writer{stdout, stderr} {
		from, to, err := os.Pipe()
		if err != nil {
			r.close()
			return nil, fmt.Errorf("pipes for the app's output: %w", err)
		}
		_ = to.Chown(uid, gid) // not without the capability, as in tests
		s := &r.streams[i]
		s.in, s.out = to, out
		r.running.Go(func() {
			defer from.Close()
			r.copy(s, from)
		})
	}
	return r, nil
}

func (r *relay) close() {
	for i := range r.streams {
		if f := r.streams[i].in; f != nil {
			f.Close()
		}
	}
}

// finish waits until everything is passed on that the processes have written.
// They have ended, or been told to.
func (r *relay) finish() {
	r.close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.running.Wait()
		r.tell(time.Now(), true)
	}()
	select {
	case <-done:
	case <-time.After(drainWithin): // the engine does not take it, or a process stays
	}
}

// copy passes one stream on until nobody can write to it any more.
func (r *relay) copy(s *relayed, from *os.File) {
	buf := make([]byte, 64<<10)
	for {
		_ = from.SetReadDeadline(time.Now().Add(relayTell)) // to tell what was dropped before a silence
		n, err := from.Read(buf)
		now := time.Now()
		if n > 0 && !r.pass(s, buf[:n], now) {
			return // the engine is gone: the app gets SIGPIPE, as without us
		}
		r.tell(now, false)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
}

// pass writes what may pass of a text that was read.
func (r *relay) pass(s *relayed, text []byte, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.skipping {
		end := bytes.IndexByte(text, '\n') + 1
		if end == 0 {
			return true
		}
		text, s.skipping = text[end:], false
	}
	n := r.admit(text, now)
	rest := text[n:]
	if len(rest) > 0 && s.open && n == 0 { // in the middle of a line
		if _, err := s.out.Write([]byte{'\n'}); err != nil {
			return false
		}
		s.open = false
	}
	s.skipping = len(rest) > 0 && rest[len(rest)-1] != '\n'
	if n == 0 {
		return true
	}
	s.open = text[n-1] != '\n'
	_, err := s.out.Write(text[:n])
	return err == nil
}

// admit returns how much of a text may pass, in whole lines unless it is all, and
// counts the lines of the rest.
func (r *relay) admit(text []byte, now time.Time) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.budget.AllowN(now, cost(text)) {
		return len(text)
	}
	for {
		end := bytes.IndexByte(text[n:], '\n') + 1
		if end == 0 || !r.budget.AllowN(now, cost(text[n:n+end])) {
			break
		}
		n += end
	}
	rest := text[n:]
	r.dropped += int64(bytes.Count(rest, []byte{'\n'}))
	if len(rest) > 0 && rest[len(rest)-1] != '\n' {
		r.dropped++
	}
	return n
}

// cost is what a text takes of the budget.
func cost(text []byte) int { return bytes.Count(text, []byte{'\n'}) + len(text)/relayBytes }

// tell says in the app's log what was dropped, now and then and at the end.
func (r *relay) tell(now time.Time, last bool) {
	r.mu.Lock()
	n := r.dropped
	if n == 0 || !last && now.Sub(r.told) < relayTell {
		r.mu.Unlock()
		return
	}
	r.dropped, r.told = 0, now
	r.mu.Unlock()
	s := &r.streams[1]
	s.mu.Lock()
	defer s.mu.Unlock()
	before := ""
	if s.open {
		before, s.open = "\n", false
	}
	_, _ = fmt.Fprintf(s.out, "%sstackato: the app writes more than %d lines a second: %d lines were dropped\n", before, relayLines, n)
}
