package fence

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stackato/stackato/wire/instance"
)

// TestWalkLayer: what du counts, whatever the names are.
func TestWalkLayer(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	name := func(s string) string { return filepath.Join(dir, s) }
	must(os.WriteFile(name("file"), make([]byte, 1<<20), 0o600))
	must(os.Link(name("file"), name("again")))
	must(os.WriteFile(name("a\nb\xff"), make([]byte, 1<<20), 0o000))
	must(os.Symlink("/usr", name("out")))
	must(os.Mkdir(name("sub"), 0o000))
	sparse, err := os.Create(name("sub/sparse"))
	must(err)
	must(sparse.Truncate(1 << 40))
	must(sparse.Close())

	h, err := walkLayer(t.Context(), dir, math.MaxInt64)
	if err != nil || h.files != 6 || h.beyond != "" {
		t.Fatalf("%+v, %v", h, err)
	}
	if h.bytes < 2<<20 || h.bytes >= 3<<20 {
		t.Errorf("%d bytes", h.bytes)
	}
	if h, err = walkLayer(t.Context(), dir, 6); err != nil || h.beyond != "" {
		t.Errorf("as many as allowed: %+v, %v", h, err)
	}
	if h, err = walkLayer(t.Context(), dir, 5); err != nil || h.beyond != "more than 5 files" {
		t.Errorf("%+v, %v", h, err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := walkLayer(gone, dir, 5); err == nil {
		t.Error("went on when nobody wanted to know")
	}
	if _, err := walkLayer(t.Context(), name("out"), 5); err == nil {
		t.Error("followed a link")
	}
	must(os.MkdirAll(name(strings.Repeat("d/", maxDepth)), 0o700))
	if h, err = walkLayer(t.Context(), dir, math.MaxInt64); err != nil || h.beyond != "" {
		t.Errorf("as deep as allowed: %+v, %v", h, err)
	}
	must(os.MkdirAll(name(strings.Repeat("d/", maxDepth+1)), 0o700))
	if h, err = walkLayer(t.Context(), dir, math.MaxInt64); err != nil || h.beyond != fmt.Sprintf("folders more than %d deep", maxDepth) {
		t.Errorf("%+v, %v", h, err)
	}
}

// What a stager keeps out of its build's way is not the build's, within bounds.
func TestHeldByStager(t *testing.T) {
	h, hidden := held{bytes: 100, files: 10}, held{bytes: spoolBytes + 5, files: 3}
	if got, want := h.and(hidden, instance.KindStaging), (held{bytes: 105, files: 13}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := h.and(held{bytes: 5, beyond: "more"}, instance.KindStaging), (held{bytes: 100, files: 10, beyond: "more"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := h.and(hidden, instance.KindApp), (held{bytes: spoolBytes + 105, files: 13}); got != want {
		t.Errorf("an app: %+v, want %+v", got, want)
	}
}

func TestRemovedMap(t *testing.T) {
	for line, want := range map[string]string{
		"7f12a000-7f12b000 r--s 00000000 fe:00 1234   /home/vcap/x (deleted)": "7f12a000-7f12b000",
		"00400000-0040b000 r-xp 00000000 fe:00 1234   /home/vcap/x (deleted)": "400000-40b000",
		"7f12a000-7f12b000 r--s 00000000 fe:00 1234   /home/vcap/x":           "",
		"7f12a000-7f12b000 rw-p 00000000 00:00 0":                             "",
		"": "",
	} {
		if got, ok := removedMap(line); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", line, got, ok)
		}
	}
}

// TestWalkLayerRaces: who swaps a folder for a link while it is counted does
// not lead fence, which is root, out of the layer.
func TestWalkLayerRaces(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	const big = 8 << 20
	for _, err := range []error{
		os.WriteFile(filepath.Join(outside, "big"), make([]byte, big), 0o600),
		os.Mkdir(filepath.Join(dir, "folder"), 0o700),
		os.Symlink(outside, filepath.Join(dir, "link")),
		syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600), // opening it would wait for ever
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	stop, swapped := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { swapped <- n }()
		for names := []string{"folder", "link", "pipe"}; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			for i, from := range names {
				to := names[(i+1)%len(names)]
				_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, from), unix.AT_FDCWD, filepath.Join(dir, to), unix.RENAME_EXCHANGE)
			}
		}
	}()
	for range 3000 {
		h, err := walkLayer(t.Context(), dir, math.MaxInt64)
		if err != nil || h.bytes >= big || h.beyond != "" {
			t.Errorf("%+v, %v", h, err)
			break
		}
	}
	close(stop)
	if n := <-swapped; n == 0 {
		t.Error("nothing was swapped, so nothing is proved")
	}
}
