package apptail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stackato/stackato/wire/logs"
)

// Bounds that are no setting.
const (
	// maxRead is how many lines one read returns.
	maxRead = 1000
	// maxReadBytes bounds their messages, so that an answer stays below what a
	// call between nodes may return, 8 MiB of JSON.
	maxReadBytes = 4 << 20
	// maxOpen is how many files stay open for the next line. Further apps open
	// theirs for each line.
	maxOpen = 512
	// closeAfter is when a file without a new line is closed.
	closeAfter = time.Minute
	// ahead is how far in the future a line's own time may lie.
	ahead = time.Second
)

// StoreConfig configures a [Store]. Only Dir is needed.
type StoreConfig struct {
	Dir          string        // made if missing; nobody else writes there
	MaxAppBytes  int64         // of one app on disk; default 4 MiB
	MaxNodeBytes int64         // of all apps on disk; default 512 MiB
	MaxAge       time.Duration // older lines are not read, and removed; default 24 h
	Log          *slog.Logger  // default: discarded

	Now func() time.Time // default time.Now
}

// Store keeps the newest lines of each app on disk. It may be used concurrently.
type Store struct {
	cfg   StoreConfig
	total atomic.Int64 // bytes of all rings
	open  atomic.Int64 // files open for writing

	mu    sync.RWMutex // taken before the lock of a ring, never after it
	rings map[string]*ring
}

// appName is what an app's GUID may look like: it becomes a folder.
var appName = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$`)

// OpenStore opens or makes the store in a folder. It reads names and sizes
// only; an app's newest segment is repaired when the app is first used.
func OpenStore(cfg StoreConfig) (*Store, error) {
	if cfg.Dir == "" {
		return nil, errors.New("apptail: a store needs a folder")
	}
	cfg.MaxAppBytes = cmp.Or(cfg.MaxAppBytes, 4<<20)
	cfg.MaxNodeBytes = cmp.Or(cfg.MaxNodeBytes, 512<<20)
	cfg.MaxAge = cmp.Or(cfg.MaxAge, 24*time.Hour)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("log store: %w", err)
	}
	entries, err := os.ReadDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("log store: %w", err)
	}
	s := &Store{cfg: cfg, rings: map[string]*ring{}}
	for _, e := range entries {
		if !e.IsDir() || !appName.MatchString(e.Name()) {
			continue
		}
		r, err := openRing(e.Name(), filepath.Join(cfg.Dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("log store: %w", err)
		}
		if len(r.segments) == 0 {
			os.Remove(r.dir)
			continue
		}
		s.rings[e.Name()] = r
		s.total.Add(r.size())
	}
	return s, nil
}

// Run removes lines that are too old and closes idle files until ctx is done,
// then it closes all files. A store can be used without, before and after.
func (s *Store) Run(ctx context.Context) error {
	t := time.NewTicker(closeAfter)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			s.sweep(s.cfg.Now(), 0)
			return nil
		case <-t.C:
			s.sweep(s.cfg.Now(), closeAfter)
		}
	}
}

// sweep removes what is too old and closes files that had no line for idle.
func (s *Store) sweep(now time.Time, idle time.Duration) {
	cutoff := now.Add(-s.cfg.MaxAge).UnixNano()
	for _, r := range s.all() {
		r.mu.Lock()
		for r.expired(cutoff) {
			s.drop(r)
		}
		if r.file != nil && now.Sub(r.written) >= idle {
			s.close(r)
		}
		r.mu.Unlock()
	}
	s.forgetEmpty()
}

// forgetEmpty forgets apps that have no lines.
func (s *Store) forgetEmpty() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for app, r := range s.rings {
		r.mu.Lock()
		if len(r.segments) == 0 {
			delete(s.rings, app)
			r.forgotten = true
		}
		r.mu.Unlock()
	}
}

func (s *Store) all() []*ring {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Collect(maps.Values(s.rings))
}

// drop removes the oldest segment of a locked ring.
func (s *Store) drop(r *ring) {
	wasOpen := r.file != nil
	s.total.Add(-r.dropOldest())
	if wasOpen && r.file == nil {
		s.open.Add(-1)
	}
}

// close closes the file of a locked ring.
func (s *Store) close(r *ring) {
	if r.file != nil {
		r.close()
		s.open.Add(-1)
	}
}

// ring returns the ring of an app, nil if there is none and none is wanted.
func (s *Store) ring(app string, create bool) *ring {
	s.mu.RLock()
	r := s.rings[app]
	s.mu.RUnlock()
	if r != nil || !create {
		return r
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r = s.rings[app]; r == nil {
		r = &ring{app: app, dir: filepath.Join(s.cfg.Dir, app), recovered: true}
		s.rings[app] = r
	}
	return r
}

// Append stores a line. A Time of zero, or one in the future, is now; one that
// is not after the app's newest line becomes the next nanosecond. A message of
// more than logs.MaxLine bytes is cut, with a mark. The line is handed to the
// operating system, not synced: it survives the agent, not a power loss.
func (s *Store) Append(l logs.Line) error {
	_, err := s.append(l, origin{})
	return err
}

// append returns the time that the line got.
func (s *Store) append(l logs.Line, o origin) (int64, error) {
	if !appName.MatchString(l.AppGUID) {
		return 0, fmt.Errorf("log line of app %q: that is no GUID", l.AppGUID)
	}
	now := s.cfg.Now()
	if l.Time <= 0 || l.Time > now.Add(ahead).UnixNano() {
		l.Time = now.UnixNano()
	}
	l = bounded(l)
	for {
		r := s.ring(l.AppGUID, true)
		r.mu.Lock()
		if r.forgotten { // just now: take a new one
			r.mu.Unlock()
			continue
		}
		t, err := s.appendTo(r, l, o, now)
		r.mu.Unlock()
		if err != nil {
			return 0, fmt.Errorf("log line of app %s: %w", l.AppGUID, err)
		}
		s.shrink()
		return t, nil
	}
}

// appendTo appends to a locked ring and keeps its bound.
func (s *Store) appendTo(r *ring, l logs.Line, o origin, now time.Time) (int64, error) {
	before, wasOpen := r.size(), r.file != nil
	segmentBytes := s.cfg.MaxAppBytes / 16
	t, err := r.append(l, o, segmentBytes, now)
	size := r.size()
	s.total.Add(size - before)
	if isOpen := r.file != nil; isOpen && !wasOpen {
		s.open.Add(1)
	} else if wasOpen && !isOpen {
		s.open.Add(-1)
	}
	if s.open.Load() > maxOpen {
		s.close(r)
	}
	for size > s.cfg.MaxAppBytes && len(r.segments) > 1 {
		size -= r.segments[0].size
		s.drop(r)
	}
	return t, err
}

// shrink removes the oldest segments of the node until it is within its bound.
func (s *Store) shrink() {
	for s.total.Load() > s.cfg.MaxNodeBytes {
		var oldest *ring
		first := int64(math.MaxInt64)
		for _, r := range s.all() {
			r.mu.Lock()
			if len(r.segments) > 0 && r.segments[0].first < first {
				oldest, first = r, r.segments[0].first
			}
			r.mu.Unlock()
		}
		if oldest == nil {
			return
		}
		oldest.mu.Lock()
		if len(oldest.segments) > 0 && oldest.segments[0].first == first {
			s.drop(oldest)
		}
		oldest.mu.Unlock()
	}
}

// Read returns lines of an app, see logs.ReadRequest; a Limit that is not
// between 1 and 1000 is 1000. An app without lines has an empty answer. Lines
// that were read once are read again unchanged as long as they are kept, and
// no line appears later before one that was read.
func (s *Store) Read(ctx context.Context, req logs.ReadRequest) (logs.ReadResponse, error) {
	r := s.ring(req.AppGUID, false)
	if r == nil {
		return logs.ReadResponse{}, nil
	}
	if req.Limit < 1 || req.Limit > maxRead {
		req.Limit = maxRead
	}
	if req.End == 0 {
		req.End = math.MaxInt64
	}
	start := max(req.Start, s.cfg.Now().Add(-s.cfg.MaxAge).UnixNano())
	lines, more, err := r.read(ctx, start, req.End, req.Limit, req.Descending)
	if err != nil {
		return logs.ReadResponse{}, fmt.Errorf("logs of app %s: %w", req.AppGUID, err)
	}
	return logs.ReadResponse{Lines: lines, More: more}, nil
}

// Apps returns the GUIDs of the apps that have lines here, sorted.
func (s *Store) Apps() []string {
	var out []string
	for _, r := range s.all() {
		r.mu.Lock()
		if len(r.segments) > 0 {
			out = append(out, r.app)
		}
		r.mu.Unlock()
	}
	slices.Sort(out)
	return out
}

// lastPlaces says how far the streams of a container have been stored by its
// lines newer than after, and the newest one's time; zero where there is none.
func (s *Store) lastPlaces(app string, source uint64, after int64) (places, int64, error) {
	r := s.ring(app, false)
	if r == nil {
		return places{}, 0, nil
	}
	p, t, err := r.lastPlaces(source, after)
	if errors.Is(err, fs.ErrNotExist) {
		return places{}, 0, nil
	}
	return p, t, err
}
