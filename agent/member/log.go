package member

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// logWriter takes memberlist's lines ("[WARN] memberlist: …") to slog. Anyone
// who can send a packet can make memberlist log a line, so they are limited.
type logWriter struct {
	log     *slog.Logger
	limit   *rate.Limiter
	dropped atomic.Int64
}

func newLogWriter(l *slog.Logger) *logWriter {
	return &logWriter{log: l, limit: rate.NewLimiter(20, 100)}
}

// Write takes one line.
func (w *logWriter) Write(p []byte) (int, error) {
	level, msg := parseLine(string(p))
	ctx := context.Background()
	if !w.log.Enabled(ctx, level) {
		return len(p), nil
	}
	if !w.limit.Allow() {
		w.dropped.Add(1)
		return len(p), nil
	}
	var attrs []slog.Attr
	if n := w.dropped.Swap(0); n > 0 {
		attrs = append(attrs, slog.Int64("lines_dropped_before", n))
	}
	w.log.LogAttrs(ctx, level, msg, attrs...)
	return len(p), nil
}

// parseLine splits a line into level and message. What memberlist calls an
// error is a peer that does not answer or sends what cannot be read: a warning
// here, this process is well.
func parseLine(line string) (slog.Level, string) {
	line = strings.TrimSpace(line)
	level := slog.LevelInfo
	if tag, rest, ok := strings.Cut(line, "] "); ok && strings.HasPrefix(tag, "[") {
		switch tag[1:] {
		case "DEBUG", "TRACE":
			level = slog.LevelDebug
		case "WARN", "ERR", "ERROR":
			level = slog.LevelWarn
		}
		line = rest
	} else if strings.HasPrefix(line, "Err") {
		level = slog.LevelWarn
	}
	return level, strings.TrimPrefix(line, "memberlist: ")
}
