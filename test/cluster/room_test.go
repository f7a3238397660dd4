package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// room is what five nodes may take of the disk.
const room = 20 << 30

// TestFiveNodesFitOnDisk measures what five nodes take of this machine's disk:
// their volumes, with an engine and the small stack in each, and the node image
// that they share. The full stack instead of the small one is reckoned by the
// size of its image, which loading writes to each node as a whole.
func TestFiveNodesFitOnDisk(t *testing.T) {
	Require(t)
	if os.Getenv("STACKATO_TEST_LONG") != "1" {
		t.Skip("five nodes: set STACKATO_TEST_LONG=1")
	}
	stack := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("../../scripts/stack", args...).CombinedOutput()
		lines := strings.Fields(string(out))
		if err != nil || len(lines) == 0 {
			t.Fatalf("scripts/stack %q: %v\n%s", args, err, out)
		}
		return lines[len(lines)-1]
	}
	ctx := bounded(t, 8*time.Minute)
	size := func(image string) int64 {
		t.Helper()
		out, err := docker(ctx, "image", "inspect", "--format", "{{.Size}}", image)
		must(t, err)
		bytes, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
		must(t, err)
		return bytes
	}
	small, full := stack("small"), int64(2<<30)
	if name := stack("--name", "full"); exec.Command("docker", "image", "inspect", name).Run() == nil {
		full = size(name)
	}

	c := New(t, Options{Nodes: 5})
	must(t, c.Form(ctx))
	must(t, c.LoadImage(ctx, small))
	must(t, c.WaitHealthy(ctx))
	sum := size(c.image)
	for _, n := range c.Nodes() {
		out, err := exec.CommandContext(ctx, "du", "--summarize", "--block-size=1", "--one-file-system", filepath.Clean(n.volume)).Output()
		must(t, err)
		bytes, err := strconv.ParseInt(strings.Fields(string(out))[0], 10, 64)
		must(t, err)
		if bytes < size(small) {
			t.Errorf("%s takes %d bytes, less than the stack that was loaded", n.Name, bytes)
		}
		sum += bytes - size(small) + full
	}
	t.Logf("five nodes with the full stack take %d MiB", sum>>20)
	if sum > room {
		t.Errorf("five nodes take %d MiB, more than %d", sum>>20, room>>20)
	}
}
