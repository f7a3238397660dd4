package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/stackato/stackato/agent/local"
)

const (
	spinnerDelay = time.Second // nothing is shown for what is quicker
	spinnerTick  = 120 * time.Millisecond
)

// during runs work and shows on standard error how it goes: on a terminal a
// spinner with the running step once it takes longer than a second; elsewhere
// one line for each finished step (none with --json).
func (a *app) during(what string, work func(local.Progress) error) error {
	if !terminal(a.err) {
		return work(func(s local.Step) { a.plainStep(s) })
	}
	sp := &spinner{w: a.err, colours: a.colours(a.err), text: what, stop: make(chan struct{}), done: make(chan struct{})}
	go sp.turn()
	err := work(sp.step)
	close(sp.stop)
	<-sp.done
	return err
}

func (a *app) plainStep(s local.Step) {
	if a.json || s.State == local.StepStarted {
		return
	}
	fmt.Fprintln(a.err, stepText(s))
}

func stepText(s local.Step) string {
	out := s.Name
	if s.Total > 0 {
		out = fmt.Sprintf("[%d/%d] %s", s.Index, s.Total, s.Name)
	}
	if s.State == local.StepFailed {
		out += ": failed"
	}
	if s.Detail != "" {
		out += ": " + s.Detail
	}
	return clean(out)
}

// spinner owns one line of a terminal while something runs.
type spinner struct {
	w       io.Writer
	colours bool
	stop    chan struct{} // closed by the owner
	done    chan struct{} // closed when the line is clear again

	mu    sync.Mutex
	text  string
	shown bool
}

var frames = []string{"|", "/", "-", "\\"}

// turn draws until stop is closed.
func (s *spinner) turn() {
	defer close(s.done)
	start := time.Now()
	ticks := time.NewTicker(spinnerTick)
	defer ticks.Stop()
	for i := 0; ; i++ {
		select {
		case <-s.stop:
			s.mu.Lock()
			s.clear()
			s.mu.Unlock()
			return
		case <-ticks.C:
			if took := time.Since(start); took >= spinnerDelay {
				s.draw(frames[i%len(frames)], took)
			}
		}
	}
}

func (s *spinner) draw(frame string, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	fmt.Fprintf(s.w, "%s %s (%s)", frame, s.text, took.Round(time.Second))
	s.shown = true
}

func (s *spinner) clear() {
	if s.shown {
		fmt.Fprint(s.w, "\r\x1b[K")
		s.shown = false
	}
}

// step leaves a line for what is finished and spins on with what began.
func (s *spinner) step(st local.Step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := stepText(st)
	mark := cell{"✓", green}
	switch st.State {
	case local.StepStarted:
		s.text = text
		return
	case local.StepFailed:
		mark = cell{"✗", red}
	case local.StepNote:
		mark = cell{"!", yellow}
	}
	s.clear()
	fmt.Fprintf(s.w, "%s %s\n", paint(s.colours, mark.colour, mark.text), text)
}
