package push

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stackato/stackato/test/bench/micro"
)

const (
	instances = 20
	rolling   = 10 * time.Minute // most that a rolling restart may take
)

// BenchmarkScale scales an app from 1 to 20 instances until the router has sent
// a request to each of them.
func BenchmarkScale(b *testing.B) {
	cloud := micro.Open(b)
	app := pushEcho(b, cloud)
	for b.Loop() {
		start := time.Now()
		app.Scale(instances)
		awaitInstances(b, cloud.Client(), app.Host, instances, nil)
		b.ReportMetric(time.Since(start).Seconds(), "routed-s")
		b.ReportMetric(0, "ns/op")
		app.Scale(1)
	}
}

// BenchmarkNomadScale is its rival: a Nomad job of the same image whose count is
// raised, until Nomad says that all run.
func BenchmarkNomadScale(b *testing.B) {
	n := openNomad(b, micro.Open(b))
	for b.Loop() {
		id := fmt.Sprintf("bench-%d", time.Now().UnixNano())
		job := func(count int) named {
			task := nginxTask(n.image, "", "")
			task["Config"].(named)["args"] = []string{"sleep 600"}
			return serviceJob(id, count, 0, task)
		}
		n.register(b, job(1))
		n.awaitRunning(b, id, 1)
		start := time.Now()
		n.register(b, job(instances))
		n.awaitRunning(b, id, instances)
		b.ReportMetric(time.Since(start).Seconds(), "running-s")
		b.ReportMetric(0, "ns/op")
		n.purge(b, id)
	}
}

// BenchmarkRollingRestart restarts 20 instances one after the other while 200
// requests a second are sent. None may fail.
func BenchmarkRollingRestart(b *testing.B) {
	cloud := micro.Open(b)
	app := pushEcho(b, cloud)
	app.Scale(instances)
	before := awaitInstances(b, cloud.Client(), app.Host, instances, nil)
	for b.Loop() {
		ctx, stop := context.WithCancel(b.Context())
		loaded := make(chan *result, 1)
		go func() { loaded <- load(ctx, app.Host) }()
		start := time.Now()
		app.Roll(rolling)
		took := time.Since(start)
		before = awaitInstances(b, cloud.Client(), app.Host, instances, before)
		stop()
		r := <-loaded
		b.ReportMetric(took.Seconds(), "restart-s")
		r.report(b)
	}
}

// pushEcho pushes testdata/echo and returns when it is served.
func pushEcho(b *testing.B, cloud *micro.Cloud) *micro.App {
	b.Helper()
	dir := b.TempDir()
	build := exec.CommandContext(b.Context(), "go", "build", "-ldflags", "-s -w", "-o", filepath.Join(dir, "echo"), "./testdata/echo")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	must(b, os.WriteFile(filepath.Join(dir, "Procfile"), []byte("web: exec ./echo\n"), 0o644))
	upload, err := micro.Zip(os.DirFS(dir))
	must(b, err)
	app := cloud.NewApp(cloud.Space(), fmt.Sprintf("bench-echo-%d", time.Now().UnixNano()), 32, "binary_buildpack")
	app.Staged(app.Build(app.Upload(upload)))
	app.Start()
	awaitOK(b, cloud.Client(), "http://"+app.Host+"/")
	return app
}

// awaitInstances asks until that many instances have answered that are not among
// the former ones, and returns them.
func awaitInstances(b *testing.B, client *http.Client, host string, count int, former map[string]bool) map[string]bool {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	seen := map[string]bool{}
	for len(seen) < count {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/", nil)
		must(b, err)
		resp, err := client.Do(req)
		if err != nil {
			b.Fatalf("%d of %d instances are routed: %v", len(seen), count, err)
		}
		resp.Body.Close()
		if name := resp.Header.Get("X-Instance"); name != "" && !former[name] {
			seen[name] = true
		}
		time.Sleep(pollHTTP)
	}
	return seen
}

func (n *nomad) awaitRunning(b *testing.B, job string, count int) {
	b.Helper()
	for end := time.Now().Add(5 * patience); n.running(b, job) < count; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("%d of %d allocations run", n.running(b, job), count)
		}
	}
}
