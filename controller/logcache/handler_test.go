package logcache

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/wire/logs"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeNodes are nodes with lines in memory.
type fakeNodes struct {
	mu    sync.Mutex
	names []string
	lines map[string][]logs.Line
	// hold delays an answer; a node without entry answers at once.
	hold  map[string]time.Duration
	fails map[string]error
	asked map[string]int
	page  int // lines that fit in an answer, 0 for all
}

func (f *fakeNodes) LogNodes(string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.names)
}

func (f *fakeNodes) ReadLogs(ctx context.Context, node string, req logs.ReadRequest) (logs.ReadResponse, error) {
	f.mu.Lock()
	hold, err := f.hold[node], f.fails[node]
	if f.asked == nil {
		f.asked = map[string]int{}
	}
	f.asked[node]++
	var out logs.ReadResponse
	for _, l := range f.lines[node] {
		if l.Time >= req.Start && (req.End == 0 || l.Time < req.End) && l.AppGUID == req.AppGUID {
			out.Lines = append(out.Lines, l)
		}
	}
	page := f.page
	f.mu.Unlock()
	if req.Descending {
		slices.Reverse(out.Lines)
	}
	if len(out.Lines) > req.Limit {
		out.Lines = out.Lines[:req.Limit]
	}
	if page > 0 && len(out.Lines) > page {
		out.Lines, out.More = out.Lines[:page], true
	}
	if hold > 0 {
		select {
		case <-ctx.Done():
			return logs.ReadResponse{}, ctx.Err()
		case <-time.After(hold):
		}
	}
	return out, err
}

func (f *fakeNodes) add(node string, lines ...logs.Line) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lines == nil {
		f.lines = map[string][]logs.Line{}
	}
	if !slices.Contains(f.names, node) {
		f.names = append(f.names, node)
	}
	f.lines[node] = append(f.lines[node], lines...)
}

func serve(t *testing.T, cfg Config) http.Handler {
	t.Helper()
	if cfg.Allowed == nil {
		cfg.Allowed = func(context.Context, *http.Request, string) error { return nil }
	}
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	return New(cfg)
}

func get(t *testing.T, h http.Handler, target string) (int, []byte) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("%s: content type %q", target, got)
	}
	return w.Code, w.Body.Bytes()
}

func line(at int64, text string) logs.Line {
	return logs.Line{Time: at, AppGUID: "app", SourceType: "APP/PROC/WEB", InstanceID: "0", Message: []byte(text)}
}

// TestBodies pins bodies that go-log-cache v2.0.7 parses.
func TestBodies(t *testing.T) {
	nodes := &fakeNodes{}
	nodes.add("dea-1",
		line(1700000000000000001, "hello <world> €"),
		logs.Line{Time: 1700000000000000002, AppGUID: "app", SourceType: logs.SourceStaging, Err: true, Message: []byte{0xff, 0}})
	nodes.add("router-1", logs.Line{Time: 1700000000000000003, AppGUID: "app", SourceType: logs.SourceRouter, InstanceID: "1"})
	refuse := map[string]error{
		"unseen":    cf.ErrNotFound.With("App not found"),
		"anonymous": cf.ErrNotAuthenticated,
		"foreign":   cf.ErrNotAuthorized,
		"away":      fmt.Errorf("look up: %w", cf.ErrServiceUnavailable),
		"broken":    errors.New("a secret of the controller"),
	}
	h := serve(t, Config{Nodes: nodes, Allowed: func(_ context.Context, r *http.Request, app string) error {
		if r.Header.Get("Authorization") != "" {
			return errors.New("unexpected header")
		}
		return refuse[app]
	}})
	for name, c := range map[string]struct {
		path   string
		status int
	}{
		"recent":              {"/api/v1/read/app?descending=true&envelope_types=LOG&limit=1000&start_time=-6795364578871345152", 200},
		"latest":              {"/api/v1/read/app?descending=true&limit=1&start_time=-6795364578871345152", 200},
		"ascending":           {"/api/v1/read/app?envelope_types=LOG&start_time=1700000000000000002", 200},
		"nothing":             {"/api/v1/read/app?envelope_types=LOG&start_time=1700000000000000004", 200},
		"only_metrics":        {"/api/v1/read/app?envelope_types=GAUGE&envelope_types=TIMER", 200},
		"no_lines":            {"/api/v1/read/other", 200},
		"unseen":              {"/api/v1/read/unseen", 404},
		"anonymous":           {"/api/v1/read/anonymous", 401},
		"foreign":             {"/api/v1/read/foreign", 403},
		"away":                {"/api/v1/read/away", 503},
		"broken":              {"/api/v1/read/broken", 500},
		"bad_start":           {"/api/v1/read/app?start_time=yesterday", 400},
		"bad_limit":           {"/api/v1/read/app?limit=1001", 400},
		"negative_limit":      {"/api/v1/read/app?limit=-1", 400},
		"bad_order":           {"/api/v1/read/app?start_time=5&end_time=4", 400},
		"bad_descending":      {"/api/v1/read/app?descending=perhaps", 400},
		"bad_envelope_type":   {"/api/v1/read/app?envelope_types=LOGS", 400},
		"name_filter":         {"/api/v1/read/app?name_filter=cpu", 400},
		"no_source":           {"/api/v1/read/", 400},
		"query_language":      {"/api/v1/query?query=cpu", 501},
		"numbers_of_types":    {"/api/v1/read/app?envelope_types=1&limit=1", 200},
		"escaped_source_path": {"/api/v1/read/" + url.PathEscape("../app"), 200},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := get(t, h, c.path)
			if status != c.status {
				t.Errorf("status %d, want %d", status, c.status)
			}
			golden := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(golden, body, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(body)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// readAs parses an answer as strictly as protojson does.
func readAs(t *testing.T, h http.Handler, app string, q url.Values) []logs.Line {
	t.Helper()
	status, body := get(t, h, "/api/v1/read/"+app+"?"+q.Encode())
	if status != http.StatusOK {
		t.Fatalf("%s: %d %s", q.Encode(), status, body)
	}
	var answer struct {
		Envelopes struct {
			Batch []struct {
				Timestamp  string            `json:"timestamp"`
				SourceID   string            `json:"source_id"`
				InstanceID string            `json:"instance_id"`
				Tags       map[string]string `json:"tags"`
				Log        struct {
					Payload []byte `json:"payload"`
					Type    string `json:"type"`
				} `json:"log"`
			} `json:"batch"`
		} `json:"envelopes"`
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	if err := d.Decode(&answer); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	var out []logs.Line
	for _, e := range answer.Envelopes.Batch {
		at, err := strconv.ParseInt(e.Timestamp, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, logs.Line{
			Time: at, AppGUID: e.SourceID, InstanceID: e.InstanceID,
			SourceType: e.Tags["source_type"], Err: e.Log.Type == "ERR", Message: e.Log.Payload,
		})
	}
	return out
}

// TestFollowAsTheCLI does what "cf logs" does (go-log-cache's Walk): find the
// newest line, then read on from a second before, leaving out what is
// younger than two seconds. Lines come from three nodes meanwhile.
func TestFollowAsTheCLI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := &fakeNodes{page: 7}
		for i := range 3 {
			nodes.add(fmt.Sprint("node-", i), line(time.Now().Add(-time.Minute).UnixNano()+int64(i), "old"))
		}
		h := serve(t, Config{Nodes: nodes})
		latest := readAs(t, h, "app", url.Values{"descending": {"true"}, "limit": {"1"}, "start_time": {"-6795364578871345152"}})
		if len(latest) != 1 {
			t.Fatalf("%d envelopes: cf logs would wait for ever", len(latest))
		}
		const total = 600
		go func() {
			for i := range total {
				at := time.Now().UnixNano()
				nodes.add(fmt.Sprint("node-", i%3), line(at, fmt.Sprint(i)))
				if i%3 == 2 { // three lines have one time
					time.Sleep(10 * time.Millisecond)
				}
			}
		}()
		var got []string
		start := latest[0].Time - int64(time.Second)
		for range 200 {
			lines := readAs(t, h, "app", url.Values{"envelope_types": {"LOG"}, "start_time": {fmt.Sprint(start)}, "limit": {"20"}})
			old := time.Now().Add(-2 * time.Second).UnixNano()
			for len(lines) > 0 && lines[len(lines)-1].Time > old {
				lines = lines[:len(lines)-1]
			}
			if len(lines) == 0 {
				time.Sleep(250 * time.Millisecond)
			}
			for _, l := range lines {
				if string(l.Message) != "old" {
					got = append(got, string(l.Message))
				}
				start = l.Time + 1
			}
		}
		for i, m := range got {
			if m != fmt.Sprint(i) {
				t.Fatalf("line %d is %q", i, m)
			}
		}
		if len(got) != total {
			t.Errorf("%d lines, want %d", len(got), total)
		}
	})
}

// TestDeadNode: the first answer waits for a second, further ones do not; the
// lines come when the node is back.
func TestDeadNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := &fakeNodes{hold: map[string]time.Duration{"dead": time.Hour}}
		nodes.add("alive", line(1, "a"))
		nodes.add("dead", line(2, "d"))
		nodes.add("failing", line(3, "f"))
		nodes.fails = map[string]error{"failing": errors.New("no route to host")}
		h := serve(t, Config{Nodes: nodes})
		read := func() (took time.Duration, lines int) {
			begun := time.Now()
			lines = len(readAs(t, h, "app", nil))
			return time.Since(begun), lines
		}
		if took, n := read(); took != time.Second || n != 1 {
			t.Errorf("first answer: %d lines after %s, want those of the living node after 1 s", n, took)
		}
		for range 3 {
			if took, n := read(); took > 50*time.Millisecond || n != 1 {
				t.Errorf("further answer: %d lines after %s", n, took)
			}
		}
		time.Sleep(6 * time.Second)
		if took, _ := read(); took != time.Second {
			t.Errorf("the node has its chance again after a few seconds, answer after %s", took)
		}
		nodes.mu.Lock()
		nodes.hold["dead"] = time.Millisecond
		nodes.fails = nil
		nodes.mu.Unlock()
		for range 2 {
			if took, n := read(); took > 10*time.Millisecond || n != 3 {
				t.Errorf("with all nodes back: %d lines after %s", n, took)
			}
		}
	})
}

// TestManyReads: a read that finds no place for a second gets 429, on which cf
// asks again with half of the limit; a client that goes frees its place.
func TestManyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := &fakeNodes{hold: map[string]time.Duration{"slow": time.Hour}}
		nodes.add("slow", line(1, "x"))
		h := serve(t, Config{Nodes: nodes, MaxReads: 2, Within: time.Minute})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/api/v1/read/app", nil))
			})
		}
		synctest.Wait()
		if status, body := get(t, h, "/api/v1/read/app"); status != http.StatusTooManyRequests {
			t.Errorf("a third read of two: %d %s", status, body)
		}
		cancel()
		wg.Wait()
		nodes.mu.Lock()
		nodes.hold["slow"] = 0
		nodes.mu.Unlock()
		if status, _ := get(t, h, "/api/v1/read/app"); status != http.StatusOK {
			t.Errorf("the places are not free again: %d", status)
		}
	})
}

func TestInfo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := serve(t, Config{Nodes: &fakeNodes{}})
		time.Sleep(90 * time.Second)
		if status, body := get(t, h, "/api/v1/info"); status != http.StatusOK || strings.TrimSpace(string(body)) != `{"version":"3.0.0","vm_uptime":"90"}` {
			t.Errorf("%d %s", status, body)
		}
	})
}

func TestMerge(t *testing.T) {
	at := func(times ...int64) (out []logs.Line) {
		for _, x := range times {
			out = append(out, logs.Line{Time: x})
		}
		return out
	}
	for name, c := range map[string]struct {
		results    []result
		limit      int
		descending bool
		want       []int64
	}{
		"order":                     {[]result{{at(1, 4), false}, {at(2, 3, 5), false}}, 10, false, []int64{1, 2, 3, 4, 5}},
		"limit":                     {[]result{{at(1, 4), false}, {at(2, 3, 5), false}}, 3, false, []int64{1, 2, 3}},
		"descending":                {[]result{{at(4, 1), false}, {at(5, 3, 2), false}}, 3, true, []int64{5, 4, 3}},
		"a node left lines out":     {[]result{{at(1, 2), true}, {at(1, 3), false}}, 10, false, []int64{1, 1, 2}},
		"the same, descending":      {[]result{{at(9, 8), true}, {at(9, 7), false}}, 10, true, []int64{9, 9, 8}},
		"times stay together":       {[]result{{at(1, 2), false}, {at(2, 3), false}}, 2, false, []int64{1}},
		"more of one than allowed":  {[]result{{at(2, 3), false}, {at(2, 4), false}, {at(2), false}}, 2, false, []int64{2, 2}},
		"empty":                     {[]result{{}, {}}, 2, false, nil},
		"one of one time, as first": {[]result{{at(2), false}, {at(2), false}}, 1, true, []int64{2}},
	} {
		var got []int64
		for _, l := range merge(c.results, logs.ReadRequest{Limit: c.limit, Descending: c.descending}) {
			got = append(got, l.Time)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func FuzzQuery(f *testing.F) {
	f.Add("app", "start_time=-6795364578871345152&limit=1000&descending=true&envelope_types=LOG")
	f.Fuzz(func(t *testing.T, source, raw string) {
		v, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		if q, err := parseQuery(source, v); err == nil && (q.Limit < 1 || q.Limit > maxLimit || q.End != 0 && q.Start > q.End) {
			t.Errorf("%q: %+v", raw, q)
		}
	})
}
