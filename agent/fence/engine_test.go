package fence

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newEngine(t *testing.T, socket string) *Engine {
	t.Helper()
	e, err := NewEngine(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func TestRealEngine(t *testing.T) {
	if testing.Short() {
		t.Skip("asks a real Docker Engine: not with -short")
	}
	// None of these may have influence.
	t.Setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
	t.Setenv("DOCKER_API_VERSION", "1.12")
	e := newEngine(t, "")
	if err := e.Ping(t.Context()); err != nil {
		if os.Getenv("STACKATO_TEST_DOCKER") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	i, err := e.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", i)
	if i.Version == "" || !strings.HasPrefix(i.APIVersion, "1.") || i.StorageDriver == "" || !filepath.IsAbs(i.RootDir) {
		t.Errorf("incomplete: %+v", i)
	}
	if i.CgroupVersion != "1" && i.CgroupVersion != "2" {
		t.Errorf("cgroup version %q", i.CgroupVersion)
	}
}

// TestNegotiation: an engine that speaks 1.41 at most, as 20.10 does, refuses
// newer requests; the client must come down to it.
func TestNegotiation(t *testing.T) {
	socket := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		switch r.URL.Path {
		case "/_ping":
		case "/v1.41/info":
			w.Write([]byte(`{"ServerVersion":"20.10.24","Driver":"overlay2","CgroupVersion":"2","DockerRootDir":"/d"}`))
		default:
			http.Error(w, `{"message":"client is too new"}`, http.StatusBadRequest)
		}
	})
	i, err := newEngine(t, socket).Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if i.APIVersion != "1.41" || i.Version != "20.10.24" || i.CgroupVersion != "2" || i.RootDir != "/d" {
		t.Errorf("%+v", i)
	}
}

// serve answers on a socket of its own.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	socket := filepath.Join(shortDir(t), "d.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Second}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Close()
		<-ended
	})
	return socket
}

// shortDir is for sockets: their paths may have 107 bytes.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestUnreachableSaysWhatToDo(t *testing.T) {
	dir := shortDir(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	deserted := filepath.Join(dir, "deserted.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: deserted})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	release := make(chan struct{})
	silent := serve(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)

	for socket, want := range map[string][]string{
		filepath.Join(dir, "absent"): {"there is no socket", "systemctl start docker"},
		file:                         {"is not a socket", "systemctl start docker"},
		deserted:                     {"nothing listens", "systemctl start docker"},
		silent:                       {"no answer in time", "journalctl"},
	} {
		within := time.Minute
		if socket == silent {
			within = 200 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), within)
		e := newEngine(t, socket)
		_, infoErr := e.Info(ctx)
		for _, err := range []error{e.Ping(ctx), infoErr} {
			if !errors.Is(err, ErrUnreachable) {
				t.Errorf("%s: %v", socket, err)
				continue
			}
			for _, part := range append(want, socket) {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q says nothing of %q", err, part)
				}
			}
		}
		cancel()
	}
}

func TestRefusedIsNotUnreachable(t *testing.T) {
	socket := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
	})
	_, err := newEngine(t, socket).Info(t.Context())
	if err == nil || errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "500") {
		t.Errorf("%v", err)
	}
}

func TestNewRefusesRelativePath(t *testing.T) {
	if _, err := NewEngine("docker.sock"); err == nil {
		t.Error("accepted")
	}
}
