package apptail

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/stackato/stackato/wire/logs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const app = "0b6cbdd5-2ac6-4f0a-9f4b-8d5a1f0f2a11"

func openStore(t testing.TB, cfg StoreConfig) *Store {
	t.Helper()
	s, err := OpenStore(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.sweep(time.Now(), 0) })
	return s
}

func put(t testing.TB, s *Store, l logs.Line) {
	t.Helper()
	if l.AppGUID == "" {
		l.AppGUID = app
	}
	if err := s.Append(l); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, s *Store, req logs.ReadRequest) []logs.Line {
	t.Helper()
	if req.AppGUID == "" {
		req.AppGUID = app
	}
	got, err := s.Read(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return got.Lines
}

func messages(lines []logs.Line) []string {
	var out []string
	for _, l := range lines {
		out = append(out, string(l.Message))
	}
	return out
}

func TestStoreKeepsLinesOverARestart(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, StoreConfig{Dir: dir})
	base := time.Now().Add(-time.Minute).UnixNano()
	want := []logs.Line{
		{Time: base, AppGUID: app, SourceType: "APP/PROC/WEB", InstanceID: "0", Message: []byte("one")},
		{Time: base + 1, AppGUID: app, SourceType: logs.SourceRouter, Err: true, Message: []byte("two")},
		{Time: base + 500, AppGUID: app, SourceType: logs.SourceStaging, InstanceID: "3", Message: []byte{}},
	}
	for _, l := range want {
		put(t, s, l)
	}
	for range 2 {
		if diff := cmp.Diff(want, read(t, s, logs.ReadRequest{})); diff != "" {
			t.Error(diff)
		}
		if got := s.Apps(); !slices.Equal(got, []string{app}) {
			t.Errorf("apps: %q", got)
		}
		s = openStore(t, StoreConfig{Dir: dir}) // the first one was killed
	}
	put(t, s, logs.Line{Time: base, Message: []byte("late")})
	got := read(t, s, logs.ReadRequest{Descending: true, Limit: 1})
	if len(got) != 1 || string(got[0].Message) != "late" || got[0].Time != base+501 {
		t.Errorf("a line that comes late stands at the end, got %+v", got)
	}
}

func TestStoreReadBounds(t *testing.T) {
	s := openStore(t, StoreConfig{Dir: t.TempDir(), MaxAppBytes: 16 * 1024}) // segments of a dozen lines
	base := time.Now().Add(-time.Minute).UnixNano()
	for i := range int64(100) {
		put(t, s, logs.Line{Time: base + 10*i, SourceType: "APP/PROC/WEB", Message: fmt.Appendf(nil, "%02d", i)})
	}
	for name, c := range map[string]struct {
		req         logs.ReadRequest
		first, last string
		n           int
	}{
		"all":                   {logs.ReadRequest{}, "00", "99", 100},
		"negative start":        {logs.ReadRequest{Start: -6795364578871345152}, "00", "99", 100},
		"from":                  {logs.ReadRequest{Start: base + 10*40}, "40", "99", 60},
		"between two":           {logs.ReadRequest{Start: base + 10*40 + 1}, "41", "99", 59},
		"end is exclusive":      {logs.ReadRequest{Start: base + 10*40, End: base + 10*50}, "40", "49", 10},
		"oldest of a limit":     {logs.ReadRequest{Start: base + 10*40, Limit: 7}, "40", "46", 7},
		"newest of a limit":     {logs.ReadRequest{Limit: 7, Descending: true}, "99", "93", 7},
		"newest before an end":  {logs.ReadRequest{Limit: 30, End: base + 10*50, Descending: true}, "49", "20", 30},
		"descending to a start": {logs.ReadRequest{Start: base + 10*40, End: base + 10*50, Descending: true}, "49", "40", 10},
		"behind the end":        {logs.ReadRequest{Start: base + 10*100}, "", "", 0},
		"before the start":      {logs.ReadRequest{End: base}, "", "", 0},
		"another app":           {logs.ReadRequest{AppGUID: "other"}, "", "", 0},
		"a folder":              {logs.ReadRequest{AppGUID: "../x"}, "", "", 0},
	} {
		got := messages(read(t, s, c.req))
		if len(got) != c.n || c.n > 0 && (got[0] != c.first || got[c.n-1] != c.last) {
			t.Errorf("%s: %d lines %v, want %d from %s to %s", name, len(got), got, c.n, c.first, c.last)
		}
	}
}

func TestStoreBoundsOfAppAndNode(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, StoreConfig{Dir: dir, MaxAppBytes: 64 << 10, MaxNodeBytes: 150 << 10})
	for i := range 1000 {
		put(t, s, logs.Line{Message: fmt.Appendf(nil, "%04d%0200d", i, 0)})
	}
	got := messages(read(t, s, logs.ReadRequest{Descending: true}))
	if len(got) < 150 || len(got) > 400 || !strings.HasPrefix(got[0], "0999") {
		t.Fatalf("%d lines are kept of about 250, the newest %.8q", len(got), got[:1])
	}
	for i := range 9 {
		for range 200 {
			put(t, s, logs.Line{AppGUID: fmt.Sprintf("app%d", i), Message: bytes.Repeat([]byte("x"), 200)})
		}
	}
	var total int64
	if err := filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			total += info.Size()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if total > 150<<10 || total < 100<<10 || total != s.total.Load() {
		t.Errorf("%d bytes on disk, counted %d", total, s.total.Load())
	}
	if n := len(read(t, s, logs.ReadRequest{AppGUID: "app8"})); n != 200 {
		t.Errorf("the newest app has %d lines: the oldest lines go first", n)
	}
	s.sweep(time.Now(), 0)
	if slices.Contains(s.Apps(), app) {
		t.Error("the oldest app's lines are still there")
	}
	if again := openStore(t, StoreConfig{Dir: dir}); again.total.Load() != total {
		t.Errorf("counts %d bytes after a restart, want %d", again.total.Load(), total)
	}
}

func TestStoreForgetsOldLines(t *testing.T) {
	now := time.Now()
	cfg := StoreConfig{Dir: t.TempDir(), MaxAppBytes: 16 << 10, Now: func() time.Time { return now }}
	s := openStore(t, cfg)
	for range 20 {
		put(t, s, logs.Line{Message: bytes.Repeat([]byte("x"), 100)})
	}
	now = now.Add(20 * time.Hour)
	put(t, s, logs.Line{Message: []byte("new")})
	now = now.Add(5 * time.Hour)
	if got := messages(read(t, s, logs.ReadRequest{})); !slices.Equal(got, []string{"new"}) {
		t.Errorf("%d lines are read, want the one of the last day", len(got))
	}
	s.sweep(now, 0)
	now = now.Add(20 * time.Hour)
	s.sweep(now, 0)
	if entries, err := os.ReadDir(cfg.Dir); err != nil || len(entries) != 0 || len(s.rings) != 0 {
		t.Errorf("left on disk: %v, %v", entries, err)
	}
	put(t, s, logs.Line{Message: []byte("again")})
	if got := messages(read(t, s, logs.ReadRequest{})); !slices.Equal(got, []string{"again"}) {
		t.Errorf("after all was forgotten: %q", got)
	}
}

// TestStoreTornTail cuts the newest segment at every length: each whole record
// before the cut is kept, and new lines follow.
func TestStoreTornTail(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, StoreConfig{Dir: dir})
	for i := range 4 {
		put(t, s, logs.Line{SourceType: "STG", Message: fmt.Appendf(nil, "line %d", i)})
	}
	file, err := filepath.Glob(filepath.Join(dir, app, "*.log"))
	if err != nil || len(file) != 1 {
		t.Fatalf("%q, %v", file, err)
	}
	whole, err := os.ReadFile(file[0])
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		for _, tail := range [][]byte{nil, bytes.Repeat([]byte{0}, 40), {0xff, 0xff, 0xff, 0x7f, 1, 2, 3}} {
			if err := os.WriteFile(file[0], slices.Concat(whole[:n], tail), 0o600); err != nil {
				t.Fatal(err)
			}
			s := openStore(t, StoreConfig{Dir: dir})
			put(t, s, logs.Line{Message: []byte("next")})
			want := []string{"line 0", "line 1", "line 2", "line 3"}[:4*n/len(whole)]
			if got := messages(read(t, s, logs.ReadRequest{})); !slices.Equal(got, append(want, "next")) {
				t.Fatalf("cut at %d of %d: %q", n, len(whole), got)
			}
			s.sweep(time.Now(), 0)
		}
	}
}

// TestStoreFlippedBytes: nothing that was not written is ever read.
func TestStoreFlippedBytes(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, StoreConfig{Dir: dir})
	written := map[string]bool{}
	for i := range 4 {
		m := fmt.Sprintf("line %d", i)
		written[m] = true
		put(t, s, logs.Line{SourceType: "STG", Message: []byte(m)})
	}
	file := s.rings[app].segments[0].path
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		data := slices.Clone(whole)
		data[n] ^= 0x11
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, s := range []*Store{s, openStore(t, StoreConfig{Dir: dir})} { // damaged while open, and before
			for _, m := range messages(read(t, s, logs.ReadRequest{})) {
				if !written[m] {
					t.Fatalf("byte %d flipped: read %q", n, m)
				}
			}
		}
	}
}

func TestStoreTimesGrow(t *testing.T) {
	s := openStore(t, StoreConfig{Dir: t.TempDir()})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 200 {
				at := time.Now()
				switch i {
				case 1:
					at = at.Add(-time.Hour)
				case 2:
					at = at.Add(time.Hour)
				case 3:
					at = time.Unix(0, 0)
				}
				if err := s.Append(logs.Line{AppGUID: app, Time: at.UnixNano(), Message: fmt.Appendf(nil, "%d %d", i, j)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	lines := read(t, s, logs.ReadRequest{})
	if len(lines) != 800 {
		t.Errorf("%d lines, want 800", len(lines))
	}
	for i := 1; i < len(lines); i++ {
		if lines[i].Time <= lines[i-1].Time {
			t.Fatalf("line %d has time %d after %d", i, lines[i].Time, lines[i-1].Time)
		}
	}
	if last := lines[len(lines)-1].Time; last > time.Now().Add(2*time.Second).UnixNano() {
		t.Errorf("a clock that goes ahead takes the app's log along: %s", time.Unix(0, last))
	}
}

// TestStoreReadsAreStable pages through a log that grows, as clients do.
func TestStoreReadsAreStable(t *testing.T) {
	s := openStore(t, StoreConfig{Dir: t.TempDir(), MaxAppBytes: 1 << 20})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	const total = 3000
	wg.Go(func() {
		for i := range total {
			put(t, s, logs.Line{Message: fmt.Appendf(nil, "%d", i)})
		}
	})
	var got []string
	for start := int64(0); len(got) < total && ctx.Err() == nil; {
		lines := read(t, s, logs.ReadRequest{Start: start, Limit: 100})
		for _, l := range lines {
			got, start = append(got, string(l.Message)), l.Time+1
		}
	}
	wg.Wait()
	for i, m := range got {
		if m != fmt.Sprint(i) {
			t.Fatalf("line %d is %q", i, m)
		}
	}
}

func TestStoreCutsLongLines(t *testing.T) {
	s := openStore(t, StoreConfig{Dir: t.TempDir()})
	for _, m := range []string{
		strings.Repeat("x", logs.MaxLine),
		strings.Repeat("x", logs.MaxLine+1),
		strings.Repeat("€", logs.MaxLine),
		strings.Repeat("\xff", 2*logs.MaxLine),
	} {
		put(t, s, logs.Line{Message: []byte(m)})
		got := string(read(t, s, logs.ReadRequest{Descending: true, Limit: 1})[0].Message)
		if len(m) <= logs.MaxLine {
			if got != m {
				t.Errorf("a line of %d bytes was changed", len(m))
			}
			continue
		}
		kept, mark, ok := strings.Cut(got, " [… ")
		if !ok || len(got) > logs.MaxLine || len(got) < logs.MaxLine-100 || !strings.HasPrefix(m, kept) || mark != fmt.Sprintf("%d bytes cut]", len(m)-len(kept)) {
			t.Errorf("line of %d bytes: %d bytes kept, mark %q", len(m), len(kept), mark)
		}
		if utf8.ValidString(m) && !utf8.ValidString(got) {
			t.Error("a character was split")
		}
	}
}

func TestStoreRefusesNames(t *testing.T) {
	s := openStore(t, StoreConfig{Dir: t.TempDir()})
	for _, name := range []string{"", ".", "..", "../x", "a/b", "-x", strings.Repeat("a", 65)} {
		if err := s.Append(logs.Line{AppGUID: name, Message: []byte("x")}); err == nil {
			t.Errorf("%q was taken for a GUID", name)
		}
	}
}

func TestStoreManyAppsKeepFewFilesOpen(t *testing.T) {
	s := openStore(t, StoreConfig{Dir: t.TempDir()})
	for range 2 {
		for i := range maxOpen + 20 {
			put(t, s, logs.Line{AppGUID: fmt.Sprintf("app%d", i), Message: []byte("x")})
		}
	}
	if n := s.open.Load(); n > maxOpen {
		t.Errorf("%d files are open", n)
	}
	if n := len(read(t, s, logs.ReadRequest{AppGUID: fmt.Sprintf("app%d", maxOpen+10)})); n != 2 {
		t.Errorf("%d lines, want 2", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil || s.open.Load() != 0 {
		t.Errorf("after Run %d files are open, error %v", s.open.Load(), err)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(appendRecord(nil, logs.Line{Time: 5, SourceType: "STG", InstanceID: "1", Message: []byte("m")}, origin{1, place{2, 3}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, sum, rest, ok := nextRecord(data)
		if !ok || !rec.valid(sum) {
			return
		}
		l := rec.line(app)
		if again := appendRecord(nil, l, rec.origin()); len(l.Message) <= logs.MaxLine && !bytes.Equal(again[prefixBytes+28+1:], data[prefixBytes+28+1:len(data)-len(rest)]) {
			t.Errorf("%x becomes %x", data, again)
		}
	})
}
