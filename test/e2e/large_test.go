package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stackato/stackato/test/cluster"
)

// transfer bounds the way of a gibibyte.
const transfer = 10 * time.Minute

// TestGibibyte sends an app of about 1 GiB, the largest package that is taken,
// through the whole platform.
func TestGibibyte(t *testing.T) {
	cluster.Require(t)
	if os.Getenv("STACKATO_TEST_LONG") != "1" {
		t.Skip("takes minutes and 10 GiB of disk: set STACKATO_TEST_LONG=1")
	}
	c := newCloud(t, cluster.Options{}, "small")
	t.Run("script", func(t *testing.T) { c.runScripts(t, "testdata/large") })
}

// largeCommands are the commands of scripts that move much.
func (c *cloud) largeCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"random":   c.cmdRandom,
		"digest":   c.cmdDigest,
		"upload":   c.cmdUpload,
		"download": c.cmdDownload,
		"memory":   c.cmdMemory,
	}
}

// noise returns count MiB that are the same for the same count and that cannot
// be compressed.
func noise(count string) (io.Reader, error) {
	n, err := strconv.ParseInt(count, 10, 32)
	if err != nil {
		return nil, err
	}
	var seed [32]byte
	copy(seed[:], count)
	return io.LimitReader(rand.NewChaCha8(seed), n<<20), nil
}

// cmdRandom is random FILE MIB.
func (c *cloud) cmdRandom(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: random FILE MIB")
	}
	in, err := noise(args[1])
	ts.Check(err)
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	_, err = io.Copy(f, in)
	ts.Check(errors.Join(err, f.Close()))
}

// cmdDigest is digest FILE SHA-256.
func (c *cloud) cmdDigest(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: digest FILE SHA-256")
	}
	got, err := digestOf(ts.MkAbs(args[0]))
	ts.Check(err)
	if got != args[1] {
		ts.Fatalf("%s has the digest %s, not %s", args[0], got, args[1])
	}
}

func digestOf(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	return hex.EncodeToString(sum.Sum(nil)), err
}

// cmdUpload is upload URL MIB: the app answers with the digest of what it was
// sent.
func (c *cloud) cmdUpload(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: upload URL MIB")
	}
	in, err := noise(args[1])
	ts.Check(err)
	size, _ := strconv.ParseInt(args[1], 10, 32) // noise has read it
	sum := sha256.New()
	ctx, cancel := context.WithTimeout(context.Background(), transfer)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, args[0], io.TeeReader(in, sum))
	ts.Check(err)
	req.ContentLength = size << 20
	started := time.Now()
	var answer bytes.Buffer
	ts.Check(c.send(req, &answer))
	if got, want := answer.String(), hex.EncodeToString(sum.Sum(nil)); got != want {
		ts.Fatalf("the app got what has the digest %s, it was sent %s", got, want)
	}
	ts.Logf("%s MiB up in %s", args[1], time.Since(started).Round(time.Second/10))
}

// cmdDownload is download [-H HEADER] URL SHA-256 or FILE, as which it is to be
// the same.
func (c *cloud) cmdDownload(ts *testscript.TestScript, neg bool, args []string) {
	header := ""
	if len(args) == 4 && args[0] == "-H" {
		header, args = args[1], args[2:]
	}
	if neg || len(args) != 2 {
		ts.Fatalf("usage: download [-H HEADER] URL SHA-256|FILE")
	}
	want := args[1]
	if len(want) != hex.EncodedLen(sha256.Size) {
		var err error
		want, err = digestOf(ts.MkAbs(want))
		ts.Check(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), transfer)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, args[0], nil)
	ts.Check(err)
	if name, value, ok := strings.Cut(header, ": "); ok {
		req.Header.Set(name, value)
	}
	started := time.Now()
	sum := sha256.New()
	ts.Check(c.send(req, sum))
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		ts.Fatalf("what came has the digest %s, not %s", got, want)
	}
	ts.Logf("%s down in %s", req.URL.Path, time.Since(started).Round(time.Second/10))
}

// send makes a request and copies the body of a good answer.
func (c *cloud) send(req *http.Request, to io.Writer) error {
	client, err := c.client(false)
	if err != nil {
		return err
	}
	client.Timeout = 0 // the context ends it
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return fmt.Errorf("%s: %s: %s", req.URL, resp.Status, text)
	}
	_, err = io.Copy(to, resp.Body)
	return err
}

// cmdMemory is memory start and memory stop MIB: in between the agent of the
// first node has never held that much more of the machine's memory than at the
// start. The kernel keeps the peak.
func (c *cloud) cmdMemory(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: memory start, memory stop MIB")
	}
	pids, err := c.Node(0).PIDs("stackato-agent")
	ts.Check(err)
	if len(pids) != 1 {
		ts.Fatalf("there are %d agents", len(pids))
	}
	dir := "/proc/" + strconv.Itoa(pids[0])
	text, err := os.ReadFile(dir + "/status")
	ts.Check(err)
	now, peak := kibibytes(string(text), "VmRSS"), kibibytes(string(text), "VmHWM")
	switch {
	case args[0] == "start":
		ts.Check(os.WriteFile(dir+"/clear_refs", []byte("5"), 0)) // the peak begins anew
		ts.Setenv("MEMORY_PID", strconv.Itoa(pids[0]))
		ts.Setenv("MEMORY_START", strconv.Itoa(now))
	case args[0] == "stop" && len(args) == 2 && ts.Getenv("MEMORY_PID") == strconv.Itoa(pids[0]):
		start, err := strconv.Atoi(ts.Getenv("MEMORY_START"))
		ts.Check(err)
		limit, err := strconv.Atoi(args[1])
		ts.Check(err)
		ts.Logf("the agent had %d MiB at the start, %d at the most, %d at the end", start>>10, peak>>10, now>>10)
		if grown := (peak - start) >> 10; grown > limit {
			ts.Fatalf("it grew by %d MiB, more than %d", grown, limit)
		}
	default:
		ts.Fatalf("memory: %q, or the agent is another one than at the start", args)
	}
}

// kibibytes reads a line of /proc/PID/status.
func kibibytes(status, name string) int {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			if f := strings.Fields(rest); len(f) > 0 {
				n, _ := strconv.Atoi(f[0]) // 0 shows as no memory at all
				return n
			}
		}
	}
	return 0
}
