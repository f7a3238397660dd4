package fence

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/routing"
	"github.com/stackato/stackato/wire/rpcerr"
	"github.com/stackato/stackato/wire/staging"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		_ = f.Value.Set("6") // they wait for the engine, not for a processor
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if built.image != "" {
			_ = exec.Command("docker", "rmi", "-f", built.image).Run()
		}
		if built.dir != "" {
			os.RemoveAll(built.dir)
		}
		os.Exit(code)
	}))
}

// built is what tests with containers need; made once, by the first of them.
var built struct {
	once     sync.Once
	err      error
	dir      string
	image    string
	launcher string
}

// needDocker skips without an engine and builds the image.
func needDocker(t *testing.T) *Engine {
	t.Helper()
	if testing.Short() {
		t.Skip("runs containers: not with -short")
	}
	e := newEngine(t, "")
	if err := e.Ping(t.Context()); err != nil {
		if os.Getenv("STACKATO_TEST_DOCKER") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	built.once.Do(func() { built.err = buildImage() })
	if built.err != nil {
		t.Fatal(built.err)
	}
	return e
}

// buildImage makes an image of the host's bash and a few tools, and the app.
func buildImage() (err error) {
	if built.dir, err = os.MkdirTemp("", "fence-image"); err != nil {
		return err
	}
	programs := map[string]string{
		"stackato-launcher": "../../cmd/stackato-launcher", "testapp": "./testdata/testapp",
	}
	for name, source := range programs {
		build := exec.Command("go", "build", "-ldflags=-s -w", "-o", filepath.Join(built.dir, name), source)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
	}
	built.launcher = filepath.Join(built.dir, "stackato-launcher")
	root := filepath.Join(built.dir, "root")
	script := `set -e
mkdir -p $1/bin $1/etc $1/home/vcap $1/tmp $1/proc; cd $1
for p in bash sleep cat id ls env mkdir chmod; do
  f=$(readlink -f $(command -v $p)); cp $f bin/$p
  for lib in $(ldd $f | grep -o '/[^ ]*'); do mkdir -p .$(dirname $lib); cp -n $lib .$lib; done
done
cp $2 bin/testapp
echo 'root:x:0:0::/:/bin/bash
vcap:x:2000:2000::/home/vcap:/bin/bash' > etc/passwd
chown 2000:2000 home/vcap; chmod 1777 tmp
tar -c . | docker import -c 'ENV PATH=/bin' - $3`
	image := fmt.Sprintf("stackato/fence-test:%d", os.Getpid())
	out, err := exec.Command("bash", "-c", script, "sh", root, filepath.Join(built.dir, "testapp"), image).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	built.image = image
	return nil
}

// world is the controllers and routers of a test, and what they were told.
type world struct {
	mu        sync.Mutex
	away      bool
	instances map[string]instance.Spec // by process and version
	builds    map[string]staging.Spec
	blobs     map[string][]byte
	asked     []string
	withdrawn []routing.Withdrawal
	results   []staging.Result
	lines     []string
	onOut     func(routing.Withdrawal)
}

func newWorld() *world {
	return &world{instances: map[string]instance.Spec{}, builds: map[string]staging.Spec{}, blobs: map[string][]byte{}}
}

var errAway = rpcerr.New(rpcerr.Unavailable, "no controller answers")

func (w *world) ask(format string, args ...any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away {
		return errAway
	}
	w.asked = append(w.asked, fmt.Sprintf(format, args...))
	return nil
}

func (w *world) count(what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, a := range w.asked {
		if strings.HasPrefix(a, what) {
			n++
		}
	}
	return n
}

func (w *world) setAway(away bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away = away
}

func (w *world) Instance(_ context.Context, alloc, kind, process, version string) (instance.Spec, error) {
	if err := w.ask("instance %s %s %s %s", alloc, kind, process, version); err != nil {
		return instance.Spec{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	spec, ok := w.instances[process+"/"+version]
	if !ok {
		return spec, rpcerr.New(rpcerr.NotFound, "no version %s of process %s", version, process)
	}
	return spec, nil
}

func (w *world) Build(_ context.Context, alloc, build string) (staging.Spec, error) {
	if err := w.ask("build %s %s", alloc, build); err != nil {
		return staging.Spec{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	spec, ok := w.builds[build]
	if !ok {
		return spec, rpcerr.New(rpcerr.NotFound, "no build %s", build)
	}
	return spec, nil
}

func (w *world) Blob(_ context.Context, digest, token string) (io.ReadCloser, int64, error) {
	if err := w.ask("blob %s %s", digest, token); err != nil {
		return nil, 0, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	b, ok := w.blobs[digest]
	if !ok {
		return nil, 0, rpcerr.New(rpcerr.NotFound, "no blob %s", digest)
	}
	return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
}

func (w *world) PutDroplet(_ context.Context, build, token string, r io.Reader) (instance.Blob, error) {
	if err := w.ask("droplet %s %s", build, token); err != nil {
		return instance.Blob{}, err
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return instance.Blob{}, err
	}
	return w.put(data), nil
}

func (w *world) PutCache(ctx context.Context, build, token string, r io.Reader) (instance.Blob, error) {
	return w.PutDroplet(ctx, build, token, r)
}

func (w *world) Result(_ context.Context, token string, r staging.Result) error {
	if err := w.ask("result %s", token); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.results = append(w.results, r)
	return nil
}

func (w *world) Withdraw(_ context.Context, out routing.Withdrawal) error {
	w.mu.Lock()
	w.withdrawn = append(w.withdrawn, out)
	onOut := w.onOut
	w.mu.Unlock()
	if onOut != nil {
		onOut(out)
	}
	return nil
}

func (w *world) log(app, source, index, line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, fmt.Sprintf("%s %s/%s %s", app, source, index, line))
}

func (w *world) logged(part string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.lines, func(l string) bool { return strings.Contains(l, part) })
}

func (w *world) put(data []byte) instance.Blob {
	sum := sha256.Sum256(data)
	b := instance.Blob{Digest: hex.EncodeToString(sum[:]), Size: int64(len(data))}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blobs[b.Digest] = data
	return b
}

// droplet makes one with an app that says who it is.
func droplet(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	packed := gzip.NewWriter(&out)
	archive := tar.NewWriter(packed)
	for name, content := range files {
		h := &tar.Header{Name: "./" + name, Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg}
		if err := archive.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(archive, content)
	}
	if err := errors.Join(archive.Close(), packed.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// app puts a process into the world and returns its specification.
func (w *world) app(t *testing.T, process string, change func(*instance.Spec)) instance.Spec {
	t.Helper()
	spec := instance.Spec{
		AppGUID: "app-" + process, AppName: "my-app", ProcessGUID: process, ProcessType: "web", Version: "v1",
		Command: "exec testapp", Env: map[string]string{"SECRET": "s3cret-" + process},
		Application: json.RawMessage(`{"application_name":"my-app"}`),
		Services:    json.RawMessage(`{"user-provided":[{"name":"db","credentials":{"uri":"x://y"}}]}`),
		MemoryMB:    64, DiskMB: 512, Health: instance.Check{Type: instance.CheckPort}, Readiness: instance.Check{Type: instance.CheckProcess},
		Droplet: w.put(droplet(t, map[string]string{
			"profile.d/a.sh": "export FROM_BUILDPACK=1\n", "app/.profile.d/b.sh": "export FROM_APP=2\n", "app/.profile": "export FROM_PROFILE=$FROM_BUILDPACK$FROM_APP\n",
		})),
	}
	if change != nil {
		change(&spec)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.instances[process+"/"+spec.Version] = spec
	return spec
}

// node is a running fence.
type node struct {
	*Fence
	t     *testing.T
	world *world
	image string // of the containers that run makes
	stop  func()
}

func startNode(t *testing.T, w *world, change func(*Config)) *node {
	t.Helper()
	e := needDocker(t)
	t.Parallel() // they wait for the engine most of the time
	cfg := Config{
		Engine: e, Dir: filepath.Join(shortDir(t), "fence"), Node: "node1", Address: "127.0.0.1", Programs: []string{built.launcher},
		Controllers: w, Routers: w, Log: w.log, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Certificates: func() ([]byte, error) { return []byte("-----BEGIN CERTIFICATE-----\n"), nil },
		Schedule:     Schedule{AtOnce: 3, First: 200 * time.Millisecond, Max: time.Second, Reset: time.Minute},
		Timing: Timing{
			// What ends by itself is soon; the bounds leave time for a loaded machine.
			Interval: 100 * time.Millisecond, Measure: 100 * time.Millisecond, Retry: 10 * time.Millisecond,
			StartTimeout: time.Minute, Invocation: 20 * time.Second, Withdraw: 20 * time.Second, Grace: 20 * time.Second, Adopt: time.Minute,
			// What ended stays, so that nobody looks too late.
			Ended: time.Hour, Linger: time.Hour,
		},
		DiskShare: 1, // a slow engine must not put the next measurement off for minutes
	}
	if change != nil {
		change(&cfg)
	}
	return runNode(t, w, cfg)
}

func runNode(t *testing.T, w *world, cfg Config) *node {
	t.Helper()
	f, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	n := &node{Fence: f, t: t, world: w, image: built.image}
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(n.stop)
	await(t, "the socket", func() bool {
		conn, err := net.Dial("unix", f.Socket())
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return n
}

// run starts a container as Nomad does and returns its ID.
func (n *node) run(alloc, kind, process, version string, more ...string) string {
	n.t.Helper()
	args := slices.Concat([]string{
		"run", "-d", "--label", labelAlloc + "=" + alloc, "--label", labelKind + "=" + kind,
		"--label", labelApp + "=app-" + process, "--label", labelProcess + "=" + process, "--label", labelType + "=web", "--label", labelVersion + "=" + version,
		"--cap-drop", "ALL", "--cap-add", "SETUID", "--cap-add", "SETGID", "--cap-add", "SETPCAP", "--cap-add", "CHOWN", "--cap-add", "KILL",
		"-e", "NOMAD_ALLOC_INDEX=2", "-v", n.mounted + ":/stackato:ro", "-p", "127.0.0.1::8080", "--memory", "64m",
	}, more, []string{n.image, "/stackato/bin/stackato-launcher"})
	id := docker(n.t, args...)
	n.t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", "-v", id).Run() })
	return id
}

func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		t.Fatalf("docker %s: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

// dockerLogs returns both streams of a container.
func dockerLogs(t *testing.T, id string) string {
	t.Helper()
	out, err := exec.Command("docker", "logs", id).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// ask runs a container whose first process asks fence, and returns what it was
// answered.
func (n *node) ask(alloc, kind, process string, requests ...string) string {
	n.t.Helper()
	return docker(n.t, n.askArgs("--rm", alloc, kind, process, requests)...)
}

// fill runs a build that writes 10 MB and does not end, and returns its
// container.
func (n *node) fill(build string) string {
	n.t.Helper()
	id := docker(n.t, n.askArgs("-d", "s1", instance.KindStaging, build, []string{"GET", "/v1/build", "", "FILL", "10", ""})...)
	n.t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", id).Run() })
	return id
}

func (n *node) askArgs(how, alloc, kind, process string, requests []string) []string {
	return slices.Concat([]string{
		"run", how, "--label", labelAlloc + "=" + alloc, "--label", labelKind + "=" + kind, "--label", labelApp + "=app-" + process,
		"--label", labelProcess + "=" + process, "--label", labelType + "=web", "--label", labelVersion + "=v1",
		"-v", n.mounted + ":/stackato:ro", built.image, "/bin/testapp", "ask",
	}, requests)
}

// status returns an allocation's.
func (n *node) status(alloc string) instance.Status {
	for _, s := range n.Stats() {
		if s.AllocID == alloc {
			return s
		}
	}
	return instance.Status{}
}

// alive reports whether an allocation has a container that runs.
func (n *node) alive(alloc string) bool {
	for _, c := range n.table.alive() {
		if c.AllocID == alloc {
			return true
		}
	}
	return false
}

func (n *node) awaitReady(alloc string) instance.Status {
	n.t.Helper()
	await(n.t, alloc+" ready", func() bool { return n.status(alloc).Ready })
	return n.status(alloc)
}

// get asks the app.
func (n *node) get(alloc, path string) string {
	n.t.Helper()
	resp, err := http.Get("http://" + n.status(alloc).Address + path)
	if err != nil {
		return err.Error()
	}
	defer http.DefaultClient.CloseIdleConnections() // this one too, once its body is closed
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return string(body)
}

// await waits for a condition, for as long as a loaded machine may take.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s", what)
		}
	}
}
