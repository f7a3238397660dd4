package member

import (
	"bytes"
	"fmt"
	"log"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

var noAddr netip.AddrPort

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestParseLine(t *testing.T) {
	for line, want := range map[string]struct {
		level slog.Level
		msg   string
	}{
		"[DEBUG] memberlist: Stream connection from=x\n":       {slog.LevelDebug, "Stream connection from=x"},
		"[INFO] memberlist: Suspect n1 has failed\n":           {slog.LevelInfo, "Suspect n1 has failed"},
		"[WARN] memberlist: Refuting a dead message (from: a)": {slog.LevelWarn, "Refuting a dead message (from: a)"},
		"[ERR] memberlist: Decrypt packet failed: x":           {slog.LevelWarn, "Decrypt packet failed: x"},
		"[ERROR] memberlist: Failed to compress payload":       {slog.LevelWarn, "Failed to compress payload"},
		"[ERR] Failed to shutdown transport: x":                {slog.LevelWarn, "Failed to shutdown transport: x"},
		"Err: Could not set the deadline: x":                   {slog.LevelWarn, "Err: Could not set the deadline: x"},
		"something [odd] here":                                 {slog.LevelInfo, "something [odd] here"},
	} {
		if level, msg := parseLine(line); level != want.level || msg != want.msg {
			t.Errorf("%q: %s %q", line, level, msg)
		}
	}
}

// Whoever sends rubbish cannot fill the disk with log lines.
func TestLogIsLimited(t *testing.T) {
	var out lockedBuffer
	w := newLogWriter(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo})))
	l := log.New(w, "", 0)
	for i := range 10000 {
		l.Printf("[DEBUG] memberlist: %d", i) // below the level: costs nothing
	}
	for i := range 10000 {
		l.Printf("[ERR] memberlist: Decrypt packet failed: %d", i)
	}
	if n := strings.Count(out.String(), "\n"); n < 100 || n > 200 {
		t.Errorf("%d lines were written", n)
	}
	w.limit.SetBurst(1 << 20)
	w.limit.SetLimit(1 << 20)
	dropped := w.dropped.Load()
	for !strings.Contains(out.String(), "the next") {
		l.Print("[WARN] memberlist: the next")
	}
	if want := fmt.Sprintf("lines_dropped_before=%d", dropped); dropped < 9000 || !strings.Contains(out.String(), "lines_dropped_before=") {
		t.Errorf("the log does not say %s", want)
	}
}
