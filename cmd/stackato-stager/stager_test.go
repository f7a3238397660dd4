package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/stackato/stackato/internal/buildinfo"
	"github.com/stackato/stackato/wire/staging"
)

// TestMain is the building process when the stager under test starts it.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == buildCommand {
		os.Exit(buildMain())
	}
	goleak.VerifyTestMain(m)
}

// bench is a stager of this process's user, with its fence. The building
// process is a real one.
type bench struct {
	*stager
	*fence
	child *child
	out   *os.File // what the developer reads
	dir   string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"home", "tmp", "spool"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	out, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	t.Cleanup(func() { endStrangers(t, dir) })
	sockets, err := os.MkdirTemp("", "fence")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
	b := &bench{fence: newFence(t, sockets), child: &child{stdout: out}, out: out, dir: dir}
	c := newClient(b.fence.socket)
	c.pause = time.Millisecond
	b.stager = &stager{
		fence: c, spool: filepath.Join(dir, "spool"), trust: filepath.Join(dir, "etc", "trust.pem"),
		home: filepath.Join(dir, "home"), temp: filepath.Join(dir, "tmp"), log: out,
		build: b.child.run, kills: func() int64 { return 0 },
	}
	return b
}

func (b *bench) text(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(b.out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// stage stages and returns the result that fence got.
func (b *bench) stage(t *testing.T) staging.Result {
	t.Helper()
	if err := b.stager.run(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, b.text(t))
	}
	if left, err := os.ReadDir(b.spool); err != nil || len(left) != 0 {
		t.Errorf("left in the spool: %v (%v)", left, err)
	}
	return b.fence.result(t)
}

func TestBuildFromPackageToResult(t *testing.T) {
	b := newBench(t)
	b.spec.Package = b.add(zipOf(t, map[string]string{"Procfile": "web: ./run\nclock: ./tick", "run": "x"}))
	b.spec.Buildpacks = []staging.Buildpack{{Name: "binary_buildpack", Builtin: "binary_buildpack"}}
	got := b.stage(t)
	want := staging.Result{
		BuildGUID: "b1", Droplet: blobOf(b.uploaded("droplet")),
		ProcessTypes: map[string]string{"web": "./run", "clock": "./tick"},
		Buildpacks:   []staging.Detected{{Name: "binary_buildpack", Version: buildinfo.Version}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if files := filesOf(t, b.uploaded("droplet")); files["./app/run"] != "x" {
		t.Errorf("droplet: %v", files)
	}
	for _, line := range []string{
		"Downloading app package...\n", "Downloaded app package (", "-----> binary_buildpack (version ",
		"Uploading droplet, build artifacts cache...\n", "Uploaded droplet (", "Staging complete\n",
	} {
		if !strings.Contains(b.text(t), line) {
			t.Errorf("the log does not say %q:\n%s", line, b.text(t))
		}
	}
	if b.uploaded("cache") != nil {
		t.Error("an empty cache was uploaded")
	}
}

// TestOutcomeNamesNoBlobs: what the building process says it uploaded is not
// believed; it uploads nothing itself.
func TestOutcomeNamesNoBlobs(t *testing.T) {
	b := newBench(t)
	b.spec.Package = b.add([]byte("package"))
	b.build = func(_ context.Context, _ request, f *files) (outcome, error) {
		_, err := f.droplet.WriteString("droplet")
		foreign := blobOf([]byte("droplet of another app"))
		return outcome{Result: staging.Result{Droplet: foreign, Cache: foreign}}, err
	}
	got := b.stage(t)
	if diff := cmp.Diff(staging.Result{BuildGUID: "b1", Droplet: blobOf([]byte("droplet"))}, got); diff != "" {
		t.Error(diff)
	}
}

// TestUploadedBuildpackCacheAndTrust: a stranger's buildpack finds the cache of
// the last build and the certificates, and never the token.
func TestUploadedBuildpackCacheAndTrust(t *testing.T) {
	compile := map[string]string{"compile": `
cat "$SSL_CERT_FILE" "$NODE_EXTRA_CA_CERTS" >"$1/trusted"
if [ -f "$2/n" ]; then cat "$2/n"; fi
echo from-the-last-build >"$2/n"
env; cat /proc/$PPID/environ
ls -l /proc/self/fd >"$1/open"`}
	first := newBench(t)
	first.spec.Package = first.add(zipOf(t, map[string]string{"x": ""}))
	first.spec.Env = map[string]string{"GREETING": "hello"}
	first.withPack(t, compile)
	result := first.stage(t)
	files := filesOf(t, first.uploaded("droplet"))
	if want := strings.Repeat(testCertificate+"further\n", 2); files["./app/trusted"] != want {
		t.Errorf("trusted: %q", files["./app/trusted"])
	}
	if strings.Contains(files["./app/open"], "deleted") { // they have no names
		t.Errorf("scripts inherit open files:\n%s", files["./app/open"])
	}
	if log := first.text(t); strings.Contains(log, "secret-token") || !strings.Contains(log, "GREETING=hello") {
		t.Errorf("log:\n%s", log)
	}

	second := newBench(t)
	second.spec = first.spec
	second.add(first.blobs[first.spec.Package.Digest])
	second.add(first.blobs[first.spec.Buildpacks[0].Blob.Digest])
	second.spec.Cache = second.add(first.uploaded("cache"))
	if result.Cache != second.spec.Cache {
		t.Errorf("the result says %+v of the cache", result.Cache)
	}
	second.stage(t)
	if log := second.text(t); !strings.Contains(log, "from-the-last-build\n") {
		t.Errorf("log:\n%s", log)
	}
}

func TestFenceIsAwayForAMoment(t *testing.T) {
	b := newBench(t)
	b.spec.Package = b.add(zipOf(t, map[string]string{"x": ""}))
	b.spec.Buildpacks = []staging.Buildpack{{Name: "binary", Builtin: "binary_buildpack"}}
	for _, path := range []string{"/v1/build", "/v1/certificates", "/v1/blobs/" + b.spec.Package.Digest, "/v1/droplet", "/v1/result"} {
		b.failures[path] = 2
	}
	if got := b.stage(t); got.Error != "" || got.Droplet.Size == 0 {
		t.Errorf("%+v\n%s", got, b.text(t))
	}
}

func TestFailuresAreReported(t *testing.T) {
	plain := func(t *testing.T, b *bench) { b.spec.Package = b.add(zipOf(t, map[string]string{"x": ""})) }
	tests := []struct {
		name   string
		set    func(t *testing.T, b *bench)
		code   string
		detail string
	}{
		{"no zip", func(_ *testing.T, b *bench) {
			b.spec.Package = b.add([]byte("no zip"))
			b.spec.Buildpacks = []staging.Buildpack{{Name: "binary", Builtin: "binary_buildpack"}}
		}, staging.ErrInvalidPackage, "no zip archive"},
		{"nothing detected", func(t *testing.T, b *bench) {
			plain(t, b)
			b.spec.Detect = true
			b.spec.Buildpacks = []staging.Buildpack{{Name: "binary", Builtin: "binary_buildpack"}}
		}, staging.ErrNoAppDetected, "not successfully detected"},
		{"compile", func(t *testing.T, b *bench) {
			plain(t, b)
			b.withPack(t, map[string]string{"compile": "exit 1"})
		}, staging.ErrCompileFailed, "compile phase"},
		{"time", func(t *testing.T, b *bench) {
			plain(t, b)
			b.spec.Timeout = time.Second
			b.withPack(t, map[string]string{"compile": "sleep 1000"})
		}, staging.ErrTimeout, "within 1s"},
		{"memory", func(t *testing.T, b *bench) {
			plain(t, b)
			count := int64(0)
			b.kills = func() int64 { count++; return count }
			b.withPack(t, map[string]string{"compile": "kill -9 $$"})
		}, staging.ErrOutOfMemory, "limit of 256 MB"},
		{"the building process dies", func(t *testing.T, b *bench) {
			plain(t, b)
			b.withPack(t, map[string]string{"compile": "kill -9 $PPID"})
		}, staging.ErrStaging, "broke off"},
		{"a blob that is not this build's", func(t *testing.T, b *bench) {
			plain(t, b)
			b.spec.Package.Digest = strings.Repeat("0", 64)
		}, staging.ErrStaging, "no such blob"},
		{"a blob that is another", func(t *testing.T, b *bench) {
			plain(t, b)
			b.spec.Package.Size++
		}, staging.ErrStaging, "bytes came as"},
		{"unknown buildpack", func(t *testing.T, b *bench) {
			plain(t, b)
			b.spec.Buildpacks = []staging.Buildpack{{Name: "x", Builtin: "nonsense"}}
		}, staging.ErrStaging, "not part of this stager"},
		{"disk", func(t *testing.T, b *bench) {
			plain(t, b)
			b.spec.DiskMB = 4
			b.withPack(t, map[string]string{"compile": "head -c 16000000 /dev/zero >big; sleep 1000"})
		}, staging.ErrInsufficient, "disk limit of 4 MB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			tt.set(t, b)
			got := b.stage(t)
			if got.Error != tt.code || !strings.Contains(got.Detail, tt.detail) || got.BuildGUID != "b1" {
				t.Errorf("%+v\n%s", got, b.text(t))
			}
			if strings.Contains(b.text(t), "Staging failed: ") {
				t.Errorf("the controller will say this, not the stager:\n%s", b.text(t))
			}
			if b.uploaded("droplet") != nil {
				t.Error("a failed build uploaded a droplet")
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	b := newBench(t)
	b.spec.Package = b.add(zipOf(t, map[string]string{"x": ""}))
	fifo := filepath.Join(b.dir, "began")
	b.withPack(t, map[string]string{"compile": "mkfifo " + fifo + "; echo >" + fifo + "; sleep 1000"})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.stager.run(ctx) }()
	readWhenThere(t, fifo)
	cancel()
	if err := <-done; !errors.Is(err, errCancelled) {
		t.Errorf("error %v", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.results) != 0 {
		t.Errorf("a cancelled build has a result: %+v", b.results)
	}
}

// readWhenThere waits until a pipe exists and somebody writes to it.
func readWhenThere(t *testing.T, fifo string) {
	t.Helper()
	for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
		f, err := os.Open(fifo)
		if err == nil {
			_, err = io.Copy(io.Discard, f)
			f.Close()
			if err != nil {
				t.Fatal(err)
			}
			tick.Stop()
			return
		}
		if t.Context().Err() != nil {
			t.Fatal("the build never began")
		}
	}
}

func TestFenceStaysAway(t *testing.T) {
	b := newBench(t)
	b.failures["/v1/build"] = tries
	if err := b.stager.run(t.Context()); err == nil || !strings.Contains(err.Error(), "no controller answers") {
		t.Errorf("error %v", err)
	}
	if b.failures["/v1/build"] != 0 {
		t.Errorf("asked %d times, want %d", tries-b.failures["/v1/build"], tries)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0B", 512: "512B", 1024: "1.0K", 1300: "1.3K", 35 << 20: "35.0M", 3 << 40: "3.0T"} {
		if got := size(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// TestTooLongAnOutcome: a build that says more than fence takes has failed.
func TestTooLongAnOutcome(t *testing.T) {
	b := newBench(t)
	b.spec.Package = b.add(zipOf(t, map[string]string{"x": ""}))
	b.withPack(t, map[string]string{
		"supply": `mkdir -p "$3/$4"; long=$(printf '%4000s' | tr ' ' x); (echo 'processes:'; for i in $(seq 90); do
echo "- {type: p$i, command: $long}"
echo "- {type: s$i, command: $long, platforms: {cloudfoundry: {sidecar_for: [web]}}}"; done) >"$3/$4/launch.yml"`,
		"finalize": "true",
	})
	if got := b.stage(t); got.Error != staging.ErrStaging || !strings.Contains(got.Detail, "longer than") {
		t.Errorf("%s %.200s\n%.500s", got.Error, got.Detail, b.text(t))
	}
}
