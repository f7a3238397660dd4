package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

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
	if !strings.Contains(log.String(), `result="n3 is away"`) {
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

func TestDefectInShortRequestIsAnError(t *testing.T) {
	c, log, _ := start(t, &fake{}) // Version is not set: it panics
	_, err := c.Version(t.Context())
	if code(err) != CodeInternal || !strings.Contains(err.Error(), "defect") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(log.String(), "panicked") {
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

func TestForward(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	var logTwo logBuffer
	two := NewHandler(&fake{
		info: Info{Name: "n2"},
		rotate: func(_ context.Context, _ RotateWhat, p Progress) (RotateResult, error) {
			p(Step{Name: "far", State: StepDone})
			return RotateResult{KeyID: "k2"}, nil
		},
		forward: func(context.Context, string, ForwardRequest) (ForwardResponse, error) {
			t.Error("forwarded again")
			return ForwardResponse{}, nil
		},
	}, slog.New(slog.NewTextHandler(&logTwo, nil)))
	one := &fake{info: Info{Name: "n1", ID: "id1", Address: "10.0.0.1"}}
	one.forward = func(ctx context.Context, name string, r ForwardRequest) (ForwardResponse, error) {
		if name != "n2" {
			return ForwardResponse{}, Errorf(CodeNotFound, "", "no node %q", name)
		}
		b, err := json.Marshal(r) // what RPC does with it
		if err != nil {
			return ForwardResponse{}, err
		}
		var far ForwardRequest
		if err := json.Unmarshal(b, &far); err != nil {
			return ForwardResponse{}, err
		}
		return Invoke(ctx, two, far)
	}
	c, _, _ := start(t, one)

	if i, err := c.OnNode("n2").Info(t.Context()); err != nil || i.Name != "n2" {
		t.Errorf("Info of n2: %+v, %v", i, err)
	}
	for _, self := range []string{"n1", "id1", "10.0.0.1"} {
		if i, err := c.OnNode(self).Info(t.Context()); err != nil || i.Name != "n1" {
			t.Errorf("Info of %s: %+v, %v", self, i, err)
		}
	}
	var steps []Step
	out, err := c.OnNode("n2").ForCommand("kato rotate ca").Rotate(t.Context(), RotateCA, func(s Step) { steps = append(steps, s) })
	if err != nil || out.KeyID != "k2" || len(steps) != 1 {
		t.Errorf("Rotate on n2: %+v, %v, steps %v", out, err, steps)
	}
	for _, want := range []string{fmt.Sprintf(`who="uid %d on n1"`, os.Getuid()), `command="kato rotate ca"`} {
		if !strings.Contains(logTwo.String(), want) {
			t.Errorf("audit of n2 lacks %s: %s", want, &logTwo)
		}
	}
	if _, err := c.OnNode("n9").Info(t.Context()); code(err) != CodeNotFound {
		t.Errorf("unknown node: %v", err)
	}
	if _, err := c.OnNode("n2").Join(t.Context(), JoinRequest{}, nil); code(err) != CodeInvalid {
		t.Errorf("join through another node: %v", err)
	}
	// A forwarded request is not sent on, whatever its headers say.
	loop := httptest.NewRequest("GET", "/v1/info", nil)
	loop.Header.Set(HeaderNode, "n3")
	w := httptest.NewRecorder()
	NewHandler(&fake{}, logger).ServeHTTP(w, loop.WithContext(context.WithValue(t.Context(), originKey{}, "uid 0 on n2")))
	if w.Code != http.StatusBadRequest {
		t.Errorf("forwarded twice: %d %s", w.Code, w.Body)
	}
}

func TestInvokeBoundsTheAnswer(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, maxForwarded))
		_, _ = io.WriteString(w, "more")
	})
	if _, err := Invoke(t.Context(), h, ForwardRequest{Method: "GET", Path: "/"}); code(err) != CodeInternal {
		t.Errorf("got %v", err)
	}
	if _, err := Invoke(t.Context(), h, ForwardRequest{Method: "G T", Path: "/"}); code(err) != CodeInvalid {
		t.Errorf("bad method: %v", err)
	}
}

// A change goes on when its client goes away, and ends when the server stops.
func TestChangeOutlivesClientNotServer(t *testing.T) {
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

func TestSocketPermissions(t *testing.T) {
	path := socketPath(t)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	want := os.FileMode(0o600)
	if _, err := user.LookupGroup(Group); err == nil && os.Geteuid() == 0 {
		want = 0o660
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Perm() != want {
		t.Errorf("mode %v, %v, want %v", info.Mode(), err, want)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("the directory holds %v, %v", left, err)
	}
}

// The permissions of the socket alone decide who may.
func TestOtherUsersAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can act as another user")
	}
	path := socketPath(t)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755); err != nil {
		t.Fatal(err)
	}
	connect := func(uid int) error {
		result := make(chan error)
		go func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			if err := unix.Setfsuid(uid); err != nil {
				result <- err
				return
			}
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				result <- err
				return
			}
			defer unix.Close(fd)
			result <- unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		}()
		return <-result
	}
	if err := connect(0); err != nil {
		t.Errorf("root: %v", err)
	}
	if err := connect(65534); !errors.Is(err, os.ErrPermission) {
		t.Errorf("nobody: %v, want permission denied", err)
	}
}

func TestListenTooLongPath(t *testing.T) {
	_, err := Listen(filepath.Join(socketPath(t), strings.Repeat("a", 100)))
	if err == nil || !strings.Contains(err.Error(), "too long for a socket") {
		t.Errorf("got %v", err)
	}
}

func TestListenReplacesOnlyStaleSockets(t *testing.T) {
	path := socketPath(t)
	first, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another agent answers") {
		t.Errorf("beside a living agent: %v", err)
	}
	// A killed agent leaves its socket behind.
	if err := first.UnixListener.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("the test wants a left-over: %v", err)
	}
	second, err := Listen(path)
	if err != nil {
		t.Fatalf("over a left-over: %v", err)
	}
	_ = first.Close() // must not remove what is not its own
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("the first took the second's socket: %v", err)
	} else {
		c.Close()
	}
	second.Close()
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("over a file: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "mine" {
		t.Errorf("the file was touched: %q, %v", b, err)
	}
}

func TestClientExplains(t *testing.T) {
	path := socketPath(t)
	_, err := NewClient(path).Info(t.Context())
	if code(err) != CodeUnavailable || !strings.Contains(wireError(err).Hint(), "is stackato-agent running?") {
		t.Errorf("no socket: %v", err)
	}
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	l.UnixListener.Close()
	if _, err = NewClient(path).Info(t.Context()); code(err) != CodeUnavailable {
		t.Errorf("stale socket: %v", err)
	}
	err = NewClient(path).explain(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", os.ErrPermission)})
	if code(err) != CodeForbidden || !strings.Contains(wireError(err).Hint(), "group stackato") {
		t.Errorf("permission: %v", err)
	}
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
