package apptail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stackato/stackato/wire/logs"
)

// segment is one file of a ring, named after the time of its first line.
type segment struct {
	path  string
	first int64 // time of its first line
	size  int64 // bytes of whole records
}

// ring is the log of one app. Its own lock is held for a write, never for a
// read of a file.
type ring struct {
	app, dir string

	mu        sync.Mutex
	segments  []segment // oldest first; lines are appended to the last one
	recovered bool      // the last segment was looked through
	last      int64     // time of the newest line
	file      *os.File  // of the last segment, nil when closed
	written   time.Time // when a line came last
	buf       []byte    // of one record
	forgotten bool      // the store knows it no more
}

// segmentName sorts by time.
func segmentName(first int64) string { return fmt.Sprintf("%016x.log", uint64(first)) }

// openRing lists the segments in dir. It reads none of them.
func openRing(app, dir string) (*ring, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	r := &ring{app: app, dir: dir}
	for _, e := range entries { // sorted by name
		digits, ok := strings.CutSuffix(e.Name(), ".log")
		first, err := strconv.ParseInt(digits, 16, 64)
		if !ok || err != nil || segmentName(first) != e.Name() {
			continue // not ours
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		r.segments = append(r.segments, segment{filepath.Join(dir, e.Name()), first, info.Size()})
	}
	return r, nil
}

// size returns the bytes of all segments. The lock must be held.
func (r *ring) size() (n int64) {
	for _, s := range r.segments {
		n += s.size
	}
	return n
}

// recover looks through the last segment once after a start: a torn tail is
// cut off, and new lines come after the newest one. The lock must be held.
func (r *ring) recover() error {
	if r.recovered || len(r.segments) == 0 {
		r.recovered = true
		return nil
	}
	s := &r.segments[len(r.segments)-1]
	r.last = s.first - 1
	data, err := os.ReadFile(s.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	whole := int64(0)
	for rest := data; ; {
		rec, sum, next, ok := nextRecord(rest)
		if !ok || !rec.valid(sum) || rec.time() <= r.last {
			break
		}
		whole += int64(len(rest) - len(next))
		r.last, rest = rec.time(), next
	}
	if whole < int64(len(data)) {
		if err := os.Truncate(s.path, whole); err != nil {
			return err
		}
	}
	s.size, r.recovered = whole, true
	return nil
}

// append writes one line and returns its time: the line's own, or the next
// one that is free. A segment that is full is followed by a new one.
func (r *ring) append(l logs.Line, o origin, segmentBytes int64, now time.Time) (int64, error) {
	if err := r.recover(); err != nil {
		return 0, err
	}
	l.Time = max(l.Time, r.last+1)
	r.buf = appendRecord(r.buf[:0], l, o)
	if n := len(r.segments); n == 0 || r.segments[n-1].size > 0 && r.segments[n-1].size+int64(len(r.buf)) > segmentBytes {
		r.close()
		r.segments = append(r.segments, segment{path: filepath.Join(r.dir, segmentName(l.Time)), first: l.Time})
	}
	s := &r.segments[len(r.segments)-1]
	if err := r.write(s); err != nil {
		return 0, err
	}
	s.size += int64(len(r.buf))
	r.last, r.written = l.Time, now
	if cap(r.buf) > 16<<10 {
		r.buf = nil // one long line must not hold memory for each app
	}
	return l.Time, nil
}

// write appends buf to the segment. What a failed write left is overwritten by
// the next one, which begins where the last whole record ends.
func (r *ring) write(s *segment) error {
	if r.file == nil {
		f, err := os.OpenFile(s.path, os.O_CREATE|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrNotExist) { // the folder went with the last segment
			if err := os.MkdirAll(r.dir, 0o700); err != nil {
				return err
			}
			f, err = os.OpenFile(s.path, os.O_CREATE|os.O_WRONLY, 0o600)
		}
		if err != nil {
			return err
		}
		r.file = f
	}
	_, err := r.file.WriteAt(r.buf, s.size)
	return err
}

// close closes the file that is written to. The lock must be held.
func (r *ring) close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

// dropOldest removes the first segment and returns how many bytes that freed.
// The lock must be held.
func (r *ring) dropOldest() int64 {
	if len(r.segments) == 0 {
		return 0
	}
	s := r.segments[0]
	if len(r.segments) == 1 {
		r.close()
	}
	r.segments = slices.Delete(r.segments, 0, 1)
	os.Remove(s.path)
	if len(r.segments) == 0 {
		os.Remove(r.dir)
	}
	return s.size
}

// expired says whether all lines of the first segment are older than cutoff,
// Unix nanoseconds. The lock must be held.
func (r *ring) expired(cutoff int64) bool {
	switch {
	case len(r.segments) == 0:
		return false
	case len(r.segments) > 1:
		return r.segments[1].first < cutoff
	case r.recovered:
		return r.last < cutoff
	}
	info, err := os.Stat(r.segments[0].path)
	return err == nil && info.ModTime().UnixNano() < cutoff
}

// snapshot returns the segments as they are now.
func (r *ring) snapshot() ([]segment, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.recover(); err != nil {
		return nil, err
	}
	return slices.Clone(r.segments), nil
}

// read returns lines with start <= time < end, in order. The bounds on lines
// and on bytes of messages cut at the far end; more says that bytes did.
func (r *ring) read(ctx context.Context, start, end int64, limit int, descending bool) (lines []logs.Line, more bool, err error) {
	segments, err := r.snapshot()
	if err != nil {
		return nil, false, err
	}
	if descending {
		slices.Reverse(segments)
	} else { // skip to the one that holds start
		from, found := slices.BinarySearchFunc(segments, start, func(s segment, t int64) int {
			return compareTime(s.first, t)
		})
		if !found {
			from--
		}
		segments = segments[max(0, from):]
	}
	bytes := 0
	for _, s := range segments {
		if s.first >= end {
			if descending {
				continue
			}
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		part, err := s.lines(r.app, start, end)
		if err != nil {
			return nil, false, err
		}
		if descending {
			slices.Reverse(part)
		}
		for _, l := range part {
			if len(lines) == limit {
				return lines, false, nil
			}
			if bytes += len(l.Message); bytes > maxReadBytes {
				return lines, true, nil
			}
			lines = append(lines, l)
		}
		if descending && s.first <= start {
			break
		}
	}
	return lines, false, nil
}

func compareTime(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// lines returns the segment's lines with start <= time < end, oldest first. A
// segment that was removed meanwhile has none; after damage the rest is left out.
func (s segment) lines(app string, start, end int64) ([]logs.Line, error) {
	var out []logs.Line
	err := s.records(func(rec rawRecord, sum uint32) bool {
		t := rec.time()
		if t >= start && t < end {
			if !rec.valid(sum) {
				return false
			}
			out = append(out, rec.line(app))
		}
		return t < end
	})
	return out, err
}

// records calls yield for each record until it returns false.
func (s segment) records(yield func(rec rawRecord, sum uint32) bool) error {
	f, err := os.Open(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	data := make([]byte, s.size)
	n, err := io.ReadFull(f, data)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	for rest := data[:n]; ; {
		rec, sum, next, ok := nextRecord(rest)
		if !ok || !yield(rec, sum) {
			return nil
		}
		rest = next
	}
}

// lastPlaces returns how far a container's streams were read by its lines newer
// than after, and the newest one's time; zero where there is none.
func (r *ring) lastPlaces(source uint64, after int64) (p places, stored int64, err error) {
	segments, err := r.snapshot()
	if err != nil {
		return places{}, 0, err
	}
	newest := int64(math.MaxInt64)
	for _, s := range slices.Backward(segments) {
		if newest <= after || p[0].Time != 0 && p[1].Time != 0 {
			break
		}
		var here places // the last of the segment
		err := s.records(func(rec rawRecord, sum uint32) bool {
			if o := rec.origin(); o.source == source && rec.time() > after && rec.valid(sum) {
				here[streamOf(rec.isErr())], stored = o.place, max(stored, rec.time())
			}
			return true
		})
		if err != nil {
			return places{}, 0, err
		}
		for i := range p {
			if p[i].Time == 0 {
				p[i] = here[i]
			}
		}
		newest = s.first
	}
	return p, stored, nil
}
