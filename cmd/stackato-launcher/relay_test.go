package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// sink is what the engine gets.
type sink struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func newTestRelay(t *testing.T) (r *relay, stdout, stderr *sink) {
	t.Helper()
	stdout, stderr = &sink{}, &sink{}
	r, err := newRelay(stdout, stderr, os.Getuid(), os.Getgid())
	if err != nil {
		t.Fatal(err)
	}
	return r, stdout, stderr
}

func (r *relay) write(t *testing.T, stream int, text string) {
	t.Helper()
	if _, err := r.streams[stream].in.WriteString(text); err != nil {
		t.Error(err)
	}
}

func seen(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// TestRelayPasses what a process writes, at once, each byte, parts of lines too,
// and knows the two streams.
func TestRelayPasses(t *testing.T) {
	c := newChildren()
	defer c.reap()()
	r, stdout, stderr := newTestRelay(t)
	p, err := c.start(command{
		path: "/bin/sh", dir: "/", uid: uint32(os.Getuid()), gid: uint32(os.Getgid()), output: r, env: os.Environ(),
		args: []string{"sh", "-c", `printf 'a prompt: '; printf 'oh\n' >&2; read x < /dev/null; echo next; echo more > /dev/stdout; printf 'a\0b'; head -c 300000 /dev/zero; printf last >&2`},
	})
	if err != nil {
		t.Fatal(err)
	}
	seen(t, "a part of a line", func() bool { return strings.HasPrefix(stdout.String(), "a prompt: ") })
	if status := <-p.done; status != 0 {
		t.Errorf("status %d", status)
	}
	r.finish()
	if got, want := stdout.String(), "a prompt: next\nmore\na\x00b"+strings.Repeat("\x00", 300000); got != want {
		t.Errorf("standard output has %d bytes, want %d: %.60q", len(got), len(want), got)
	}
	if got := stderr.String(); got != "oh\nlast" {
		t.Errorf("standard error: %q", got)
	}
}

// TestRelayDrops whole lines beyond the budget, of both streams, and says how many.
func TestRelayDrops(t *testing.T) {
	r, stdout, stderr := newTestRelay(t)
	const each = 3 * relayBurst
	var writers sync.WaitGroup
	for stream := range 2 {
		writers.Go(func() {
			for i := 0; i < each; i += 100 {
				var text strings.Builder
				for k := range 100 {
					fmt.Fprintf(&text, "%d %d\n", stream, i+k)
				}
				r.write(t, stream, text.String())
			}
		})
	}
	writers.Wait()
	r.finish()

	told := regexp.MustCompile(`^stackato: the app writes more than 5000 lines a second: (\d+) lines were dropped$`)
	passed, dropped := 0, 0
	for stream, out := range []*sink{stdout, stderr} {
		next := 0
		for line := range strings.Lines(out.String()) {
			line = strings.TrimSuffix(line, "\n")
			if m := told.FindStringSubmatch(line); m != nil {
				n, _ := strconv.Atoi(m[1])
				dropped += n
				continue
			}
			var s, i int
			if n, err := fmt.Sscanf(line, "%d %d", &s, &i); n != 2 || err != nil || s != stream || i < next || fmt.Sprint(s, i) != line {
				t.Fatalf("stream %d has the line %q after %d", stream, line, next-1)
			}
			next = i + 1
			passed++
		}
	}
	if passed+dropped != 2*each || dropped == 0 || passed < relayBurst*9/10 { // bytes cost something too
		t.Errorf("%d lines passed and %d were dropped, of %d", passed, dropped, 2*each)
	}
}

// TestRelayCutsEndlessLine: one line without end does not pass for ever, and the
// next one begins on a line of its own.
func TestRelayCutsEndlessLine(t *testing.T) {
	r, stdout, stderr := newTestRelay(t)
	part := strings.Repeat("x", 64<<10)
	for n := 0; n < 2*relayBurst*relayBytes; n += len(part) {
		r.write(t, 0, part)
	}
	seen(t, "it is told while the line goes on", func() bool { return strings.Contains(stderr.String(), " lines were dropped\n") })
	r.write(t, 0, "its end\n")
	seen(t, "the budget is there again", func() bool { return r.budget.Tokens() > relayBurst/10 })
	r.write(t, 0, "the next\n")
	r.finish()
	lines := strings.Split(stdout.String(), "\n")
	if len(lines) != 3 || strings.Trim(lines[0], "x") != "" || len(lines[0]) < relayBurst*relayBytes/2 || lines[1] != "the next" {
		t.Errorf("%d lines, of %d bytes the first; the last ones: %.60q", len(lines), len(lines[0]), lines[1:])
	}
}

// TestRelayEnds although a process that the app left behind keeps the pipe open,
// or the engine takes nothing: both only as long as it must.
func TestRelayEnds(t *testing.T) {
	r, err := newRelay(stuck(t), &sink{}, os.Getuid(), os.Getgid())
	if err != nil {
		t.Fatal(err)
	}
	r.write(t, 0, "lost\n")
	r.finish()
}

// stuck is a writer that waits until the test is over.
func stuck(t *testing.T) *os.File {
	t.Helper()
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := to.Write(make([]byte, 64<<10)); err != nil { // full
		t.Fatal(err)
	}
	t.Cleanup(func() { from.Close(); to.Close() })
	return to
}
