package fence

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"

	"github.com/stackato/stackato/agent/apptail"
	"github.com/stackato/stackato/wire/logs"
)

// TestLogsOfRealContainer follows a container into a log store, over a restart
// of the tailer and the removal of the container.
func TestLogsOfRealContainer(t *testing.T) {
	e := realEngine(t)
	writer := writerImage(t, e)
	if _, err := e.Logs(t.Context(), strings.Repeat("0", 64), time.Time{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("logs of a container that is not there: %v", err)
	}
	const n = 3000
	id := startWriter(t, e, writer, fmt.Sprint(n))

	dir := t.TempDir()
	store, err := apptail.OpenStore(apptail.StoreConfig{Dir: filepath.Join(dir, "store")})
	if err != nil {
		t.Fatal(err)
	}
	run := func() (*apptail.Tailer, func()) {
		tailer, err := apptail.New(apptail.Config{Store: store, Source: e, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- tailer.Run(ctx) }()
		tailer.Follow(apptail.Container{ID: id, AppGUID: "app", SourceType: "APP/PROC/WEB", InstanceID: "0", RateBytes: -1})
		return tailer, func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	_, stop := run()
	waitLines(t, store, n/10)
	stop()
	tailer, stop := run()
	defer stop()
	waitLines(t, store, n/2)

	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	exited, failed := e.client.ContainerWait(ctx, id, container.WaitConditionNotRunning)
	select {
	case <-exited:
	case err := <-failed:
		t.Fatal(err)
	}
	select {
	case <-tailer.Ended(id):
	case <-ctx.Done():
		t.Fatal("the log has no end")
	}
	checkWritten(t, allLines(t, store), n)
	if err := e.client.ContainerRemove(ctx, id, container.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
}

// checkWritten compares lines with what testdata/writer writes. The two streams
// reach the engine through two pipes: only within each of them is there an order.
func checkWritten(t *testing.T, lines []logs.Line, n int) {
	t.Helper()
	var want, got [2][]string
	for i := range n {
		want[i%2] = append(want[i%2], fmt.Sprint(i))
	}
	want[0] = append(want[0], strings.Repeat("x", 40<<10), "no newline")
	for _, l := range lines {
		i := 0
		if l.Err {
			i = 1
		}
		got[i] = append(got[i], string(l.Message))
	}
	for i := range got {
		if len(got[i]) != len(want[i]) {
			t.Errorf("stream %d has %d lines, want %d", i, len(got[i]), len(want[i]))
		}
		for j := range min(len(got[i]), len(want[i])) {
			if got[i][j] != want[i][j] {
				t.Fatalf("line %d of stream %d is %.20q, want %.20q", j, i, got[i][j], want[i][j])
			}
		}
	}
}

func allLines(t *testing.T, store *apptail.Store) (lines []logs.Line) {
	t.Helper()
	for start := int64(0); ; start = lines[len(lines)-1].Time + 1 {
		got, err := store.Read(t.Context(), logs.ReadRequest{AppGUID: "app", Start: start})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Lines) == 0 {
			return lines
		}
		lines = append(lines, got.Lines...)
	}
}

func waitLines(t *testing.T, store *apptail.Store, n int) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); len(allLines(t, store)) < n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d lines after 30 s, want %d", len(allLines(t, store)), n)
		}
	}
}

// realEngine returns the machine's engine, and skips without one.
func realEngine(t *testing.T) *Engine {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a Docker Engine: not with -short")
	}
	e, err := NewEngine("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	if err := e.Ping(t.Context()); err != nil {
		if os.Getenv("STACKATO_TEST_DOCKER") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return e
}

// writerImage makes an image that holds nothing but testdata/writer, and removes it
// after the test.
func writerImage(t *testing.T, e *Engine) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "writer")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./testdata/writer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: "writer", Mode: 0o755, Size: int64(len(data))}); err != nil {
		t.Fatal(err)
	}
	w.Write(data)
	w.Close()
	name := fmt.Sprintf("stackato-test/writer:%d", time.Now().UnixNano())
	out, err := e.client.ImageImport(t.Context(), image.ImportSource{Source: &layer, SourceName: "-"}, name, image.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bytes.NewBuffer(nil).ReadFrom(out); err != nil {
		t.Fatal(err)
	}
	out.Close()
	t.Cleanup(func() {
		if _, err := e.client.ImageRemove(context.Background(), name, image.RemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	})
	return name
}

func startWriter(t *testing.T, e *Engine, name string, args ...string) (id string) {
	t.Helper()
	created, err := e.client.ContainerCreate(t.Context(), &container.Config{
		Image: name, Cmd: append([]string{"/writer"}, args...),
		Labels: map[string]string{"stackato.test": os.Getenv("STACKATO_TEST_RUN")},
	}, &container.HostConfig{NetworkMode: "none"}, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = e.client.ContainerRemove(context.Background(), created.ID, container.RemoveOptions{Force: true})
	})
	if err := e.client.ContainerStart(t.Context(), created.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	return created.ID
}
