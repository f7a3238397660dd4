package logs

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/agent/apptail"
	"github.com/stackato/stackato/agent/fence"
	"github.com/stackato/stackato/controller/logcache"
	"github.com/stackato/stackato/wire/logs"
)

const (
	containers = 4
	lines      = 1000 // of each container
	interval   = "10ms"
	pollEvery  = 10 * time.Millisecond
)

// oneNode reads the store of this machine.
type oneNode struct{ store *apptail.Store }

func (oneNode) LogNodes(string) []string { return []string{"here"} }

func (n oneNode) ReadLogs(ctx context.Context, _ string, req logs.ReadRequest) (logs.ReadResponse, error) {
	return n.store.Read(ctx, req)
}

// BenchmarkLineUntilReadable measures from the moment at which a process in a
// container writes a line until a client of the log-cache API has it that asks
// again and again; beside it, until "docker logs --follow" has printed it. All
// containers belong to one app. cf itself adds two seconds: it leaves out
// younger lines, so that those of several nodes come in order.
func BenchmarkLineUntilReadable(b *testing.B) {
	engine, err := fence.NewEngine("")
	must(b, err)
	defer engine.Close()
	if err := engine.Ping(b.Context()); err != nil {
		b.Skip(err)
	}
	image := stamperImage(b)
	for b.Loop() {
		ours, theirs := measure(b, engine, image)
		report(b, "stackato", ours)
		report(b, "docker-logs", theirs)
	}
}

func measure(b *testing.B, engine *fence.Engine, image string) (ours, theirs []time.Duration) {
	ctx, cancel := context.WithTimeout(b.Context(), 2*time.Minute)
	defer cancel()
	dir := b.TempDir()
	store, err := apptail.OpenStore(apptail.StoreConfig{Dir: filepath.Join(dir, "store")})
	must(b, err)
	tailer, err := apptail.New(apptail.Config{Store: store, Source: engine, Dir: dir})
	must(b, err)
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- tailer.Run(running) }()
	defer func() {
		stop()
		must(b, <-ended)
	}()
	api := httptest.NewServer(logcache.New(logcache.Config{
		Nodes:   oneNode{store},
		Allowed: func(context.Context, *http.Request, string) error { return nil },
	}))
	defer api.Close()

	ids := make([]string, containers)
	for i := range ids {
		ids[i] = strings.TrimSpace(docker(b, nil, "create", "--network", "none", "--label", "stackato.test="+os.Getenv("STACKATO_TEST_RUN"),
			image, "/stamper", fmt.Sprint(lines), interval))
		defer docker(b, nil, "rm", "-f", ids[i])
	}
	polled, followed := make(chan []time.Duration, 1), make(chan []time.Duration, 1)
	go func() { polled <- poll(ctx, api.URL) }()
	for i, id := range ids {
		docker(b, nil, "start", id)
		tailer.Follow(apptail.Container{ID: id, AppGUID: "app", SourceType: "APP/PROC/WEB", InstanceID: fmt.Sprint(i), RateBytes: -1})
	}
	go func() { followed <- follow(ctx, ids[containers-1]) }()
	ours, theirs = <-polled, <-followed
	if len(ours) != containers*lines {
		b.Fatalf("%d lines of %d came", len(ours), containers*lines)
	}
	return ours, theirs
}

// poll reads until every line has come or ctx is done.
func poll(ctx context.Context, url string) (took []time.Duration) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for start := int64(0); len(took) < containers*lines && ctx.Err() == nil; <-tick.C {
		got, next, err := read(ctx, url, start)
		if err != nil {
			continue // too few lines say so
		}
		for _, line := range got {
			took = append(took, since(line))
		}
		start = next
	}
	return took
}

// read returns the lines from start on, and where to go on.
func read(ctx context.Context, url string, start int64) (lines []string, next int64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/api/v1/read/app?limit=1000&envelope_types=LOG&start_time=%d", url, start), nil)
	if err != nil {
		return nil, start, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, start, err
	}
	defer resp.Body.Close()
	var got struct {
		Envelopes struct {
			Batch []struct {
				Timestamp int64 `json:"timestamp,string"`
				Log       struct {
					Payload []byte `json:"payload"`
				} `json:"log"`
			} `json:"batch"`
		} `json:"envelopes"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		return nil, start, err
	}
	for _, e := range got.Envelopes.Batch {
		lines, start = append(lines, string(e.Log.Payload)), e.Timestamp+1
	}
	return lines, start, nil
}

// follow is the rival: Docker's own client.
func follow(ctx context.Context, id string) (took []time.Duration) {
	cmd := exec.CommandContext(ctx, "docker", "logs", "--follow", id)
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		return nil
	}
	for s := bufio.NewScanner(out); s.Scan(); {
		took = append(took, since(s.Text()))
	}
	_ = cmd.Wait()
	return took
}

func since(stamp string) time.Duration {
	ns, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return time.Hour // shows in the figures
	}
	return time.Since(time.Unix(0, ns))
}

// stamperImage makes an image with testdata/stamper alone.
func stamperImage(b *testing.B) string {
	b.Helper()
	bin := filepath.Join(b.TempDir(), "stamper")
	build := exec.CommandContext(b.Context(), "go", "build", "-o", bin, "./testdata/stamper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(bin)
	must(b, err)
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	must(b, w.WriteHeader(&tar.Header{Name: "stamper", Mode: 0o755, Size: int64(len(data))}))
	_, err = w.Write(data)
	must(b, err)
	must(b, w.Close())
	name := fmt.Sprintf("stackato-test/stamper:%d", time.Now().UnixNano())
	docker(b, &layer, "import", "-", name)
	b.Cleanup(func() { docker(b, nil, "rmi", "-f", name) })
	return name
}

func docker(b *testing.B, stdin *bytes.Buffer, args ...string) string {
	b.Helper()
	cmd := exec.Command("docker", args...) // also called when b's context is done
	if stdin != nil {
		cmd.Stdin = stdin
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("docker %s: %v\n%s", args[0], err, out)
	}
	return string(out)
}

func report(b *testing.B, name string, d []time.Duration) {
	b.Helper()
	if len(d) == 0 {
		b.Fatalf("%s: no figures", name)
	}
	slices.Sort(d)
	for _, p := range []struct {
		name string
		at   int
	}{{"median", len(d) / 2}, {"p99", len(d) * 99 / 100}, {"worst", len(d) - 1}} {
		b.ReportMetric(float64(d[p.at].Microseconds())/1000, name+"-"+p.name+"-ms")
	}
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
