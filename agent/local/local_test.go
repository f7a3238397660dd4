package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/stackato/stackato/agent/node"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake answers by functions; what is not set panics.
type fake struct {
	Backend
	info    Info
	join    func(context.Context, JoinRequest, Progress) (JoinResult, error)
	set     func(ConfigSetRequest) (ConfigEntry, error)
	rotate  func(context.Context, RotateWhat, Progress) (RotateResult, error)
	forward func(context.Context, string, ForwardRequest) (ForwardResponse, error)
}

func (f *fake) Info(context.Context) (Info, error) { return f.info, nil }

func (f *fake) Inspect(context.Context, []string, Progress) ([]Finding, error) { return nil, nil }

func (f *fake) Join(ctx context.Context, r JoinRequest, p Progress) (JoinResult, error) {
	return f.join(ctx, r, p)
}

func (f *fake) ConfigSet(_ context.Context, r ConfigSetRequest) (ConfigEntry, error) { return f.set(r) }

func (f *fake) Rotate(ctx context.Context, w RotateWhat, p Progress) (RotateResult, error) {
	return f.rotate(ctx, w, p)
}

func (f *fake) Forward(ctx context.Context, n string, r ForwardRequest) (ForwardResponse, error) {
	return f.forward(ctx, n, r)
}

// logBuffer is a log that may be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start serves b on a new socket until the test ends or stop is called.
func start(t *testing.T, b Backend) (c *Client, log *logBuffer, stop func()) {
	t.Helper()
	log = &logBuffer{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	path := socketPath(t)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, NewHandler(b, logger), logger) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	t.Cleanup(stop)
	return NewClient(path), log, stop
}

// socketPath is a short path: a socket's has at most 107 bytes.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "local")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "run", "agent.sock")
}

func code(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return fmt.Sprintf("no code: %v", err)
}

// logged reports whether text stands in the log so often, at last: a line is
// written when its request has ended, which the client of a stream does not
// wait for.
func logged(log fmt.Stringer, text string, times int) bool {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if strings.Count(log.String(), text) >= times {
			return true
		}
	}
	return false
}

func TestStreamReportsStepsThenResult(t *testing.T) {
	b := &fake{rotate: func(_ context.Context, w RotateWhat, p Progress) (RotateResult, error) {
		p(Step{Name: "one", State: StepStarted})
		p(Step{Name: "one", State: StepDone, Index: 1, Total: 1})
		if w == RotateCA {
			return RotateResult{}, Errorf(CodeUnavailable, "again", "n3 is away")
		}
		if w == RotateSealingKey {
			panic("defect")
		}
		return RotateResult{What: w, KeyID: "k"}, nil
	}}
	c, log, _ := start(t, b)
	var steps []Step
	note := func(s Step) { steps = append(steps, s) }
	out, err := c.Rotate(t.Context(), RotateGossipKey, note)
	want := []Step{{Name: "one", State: StepStarted}, {Name: "one", State: StepDone, Index: 1, Total: 1}}
	if diff := cmp.Diff(want, steps); diff != "" || err != nil || out.KeyID != "k" {
		t.Fatalf("%+v, %v\n%s", out, err, diff)
	}
	_, err = c.Rotate(t.Context(), RotateCA, nil)
	if code(err) != CodeUnavailable || err.Error() != "n3 is away" {
		t.Errorf("error within a stream: %v", err)
	}
	if !logged(log, `result="n3 is away"`, 1) {
		t.Errorf("audit does not tell the failure: %s", log)
	}
	if _, err = c.Rotate(t.Context(), "password", nil); code(err) != CodeInvalid {
		t.Errorf("unknown key: %v", err)
	}
	// A defect breaks off that one stream; the server lives.
	if _, err = c.Rotate(t.Context(), RotateSealingKey, nil); code(err) != CodeUnavailable {
		t.Errorf("panic: %v", err)
	}
	if _, err = c.Rotate(t.Context(), RotateGossipKey, nil); err != nil {
		t.Errorf("after a panic: %v", err)
	}
}

func TestEmptyResultOfStream(t *testing.T) {
	c, _, _ := start(t, &fake{})
	if out, err := c.Inspect(t.Context(), nil, nil); err != nil || len(out) != 0 {
		t.Errorf("got %v, %v", out, err)
	}
}

func TestDefectInShortRequestIsAnError(t *testing.T) {
	c, log, _ := start(t, &fake{}) // Version is not set: it panics
	_, err := c.Version(t.Context())
	if code(err) != CodeInternal || !strings.Contains(err.Error(), "defect") {
		t.Errorf("got %v", err)
	}
	if !logged(log, "panicked", 1) {
		t.Errorf("not logged: %s", log)
	}
}

func TestAuditSaysWhoAndWhatButNoSecrets(t *testing.T) {
	b := &fake{
		join: func(context.Context, JoinRequest, Progress) (JoinResult, error) { return JoinResult{}, nil },
		set: func(r ConfigSetRequest) (ConfigEntry, error) {
			return ConfigEntry{Key: r.Key, Value: r.Value}, nil
		},
	}
	c, log, _ := start(t, b)
	c = c.ForCommand("kato node attach")
	if _, err := c.Join(t.Context(), JoinRequest{Primaries: []string{"p1"}, Token: "hush-token"}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ConfigSet(t.Context(), ConfigSetRequest{Key: "cluster/a", Value: json.RawMessage(`"hush-value"`)}); err != nil {
		t.Fatal(err)
	}
	logged(log, "result=ok", 2)
	text := log.String()
	for _, want := range []string{
		fmt.Sprintf(`who="uid %d"`, os.Getuid()), `command="kato node attach"`, "POST /v1/join", "p1", "arg_key=cluster/a", "result=ok",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("audit lacks %s:\n%s", want, text)
		}
	}
	if strings.Contains(text, "hush") {
		t.Errorf("audit holds a secret:\n%s", text)
	}
}

func TestStrictRequests(t *testing.T) {
	b := &fake{set: func(ConfigSetRequest) (ConfigEntry, error) {
		t.Error("a bad request reached the backend")
		return ConfigEntry{}, nil
	}}
	h := NewHandler(b, slog.New(slog.DiscardHandler))
	tests := []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"unknown field", "PUT", "/v1/config", `{"key":"a","value":1,"froce":true}`, 400, "froce"},
		{"two values", "PUT", "/v1/config", `{"key":"a"} {}`, 400, "after the JSON value"},
		{"no body", "PUT", "/v1/config", ``, 400, "no body"},
		{"not JSON", "PUT", "/v1/config", `key=a`, 400, "cannot read"},
		{"wrong type", "PUT", "/v1/config", `{"key":1}`, 400, "key"},
		{"too large", "PUT", "/v1/config", `{"key":"` + strings.Repeat("a", maxBody) + `"}`, 400, "larger than"},
		{"bad boolean", "GET", "/v1/status?all=maybe", "", 400, "want true or false"},
		{"no key", "DELETE", "/v1/config", "", 400, "key is missing"},
		{"no node", "POST", "/v1/nodes/remove", "{}", 400, "name is missing"},
		{"unknown path", "GET", "/v2/info", "", 404, "does not know"},
		{"no version", "GET", "/info", "", 404, "does not know"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body)))
			var e event
			if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Error == nil {
				t.Fatalf("answer %d %q: %v", w.Code, w.Body, err)
			}
			if w.Code != tt.status || !strings.Contains(e.Error.Message, tt.want) {
				t.Errorf("got %d %q, want %d %q", w.Code, e.Error.Message, tt.status, tt.want)
			}
		})
	}
}

// A change goes on when its client goes away, and ends when the server stops.
func TestChangeOutlivesClientNotServer(t *testing.T) {
	t.Parallel() // it waits for the grace of stopping
	begun, clientGone, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	b := &fake{join: func(ctx context.Context, _ JoinRequest, p Progress) (JoinResult, error) {
		close(begun)
		<-clientGone
		if ctx.Err() != nil {
			t.Error("the change was cancelled with its client")
		}
		p(Step{Name: "still here"})
		<-ctx.Done()
		ended <- ctx.Err()
		return JoinResult{}, ctx.Err()
	}}
	c, _, stop := start(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() {
		_, err := c.Join(ctx, JoinRequest{}, nil)
		answered <- err
	}()
	<-begun
	cancel()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Errorf("client: %v", err)
	}
	close(clientGone)
	stop() // waits stopGrace, then cancels
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("change ended with %v", err)
		}
	default:
		t.Error("the server stopped before its change ended")
	}
}

func TestStopLetsRequestsFinish(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	b := &fake{join: func(ctx context.Context, _ JoinRequest, _ Progress) (JoinResult, error) {
		close(begun)
		<-release
		return JoinResult{Node: "n1"}, ctx.Err()
	}}
	c, _, stop := start(t, b)
	answered := make(chan error, 1)
	go func() {
		out, err := c.Join(t.Context(), JoinRequest{}, nil)
		if err == nil && out.Node != "n1" {
			err = errors.New("wrong answer")
		}
		answered <- err
	}()
	<-begun
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	if err := <-answered; err != nil {
		t.Errorf("a running request was cut: %v", err)
	}
	<-stopped
}

func TestStatusHealthy(t *testing.T) {
	well := func() Status {
		return Status{Primary: "n1", Nodes: []NodeStatus{{Reachable: true, Roles: []RoleStatus{
			{node.Base, StateRunning, ""}, {node.DEA, StateStopped, ""}, {node.MySQL, StateNotInstalled, ""},
		}}}}
	}
	if !well().Healthy() {
		t.Error("stopped and not installed roles make a cluster ill")
	}
	for name, harm := range map[string]func(*Status){
		"no Primary": func(s *Status) { s.Primary = "" },
		"no answer":  func(s *Status) { s.Nodes[0].Reachable = false },
		"failed":     func(s *Status) { s.Nodes[0].Roles[0].State = StateFailed },
		"starting":   func(s *Status) { s.Nodes[0].Roles[0].State = StateStarting },
		"unknown":    func(s *Status) { s.Nodes[0].Roles[0].State = StateUnknown },
	} {
		s := well()
		if harm(&s); s.Healthy() {
			t.Errorf("%s: healthy", name)
		}
	}
}
