package stack

import (
	"archive/tar"
	"bytes"
	orders "cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// image returns the name of a stack's image, which it makes if it is missing.
func image(t *testing.T, variant string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("makes a stack image: not in -short")
	}
	if os.Getenv("STACKATO_TEST_DOCKER") != "1" && exec.Command("docker", "info").Run() != nil {
		t.Skip("no Docker Engine answers; set STACKATO_TEST_DOCKER=1 to make this an error")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "../scripts/stack", variant).CombinedOutput()
	if err != nil {
		t.Fatalf("scripts/stack %s: %v\n%s", variant, err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// labels says whose the containers of this process are. Other test runs remove
// those whose owner has ended, see test/cluster.
func labels(t *testing.T) []string {
	t.Helper()
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	owner := fmt.Sprintf("%d.%s", os.Getpid(), fields[19]) // with its start time
	return []string{"--label", "stackato.owner=" + owner, "--label", "stackato.test=" + orders.Or(os.Getenv("STACKATO_TEST_RUN"), owner)}
}

// inside runs a shell script in a container of the image, as root without any
// capability, and returns its lines.
func inside(t *testing.T, image, script string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args := slices.Concat([]string{"run", "--rm", "--network", "none", "--cap-drop", "ALL"}, labels(t), []string{image, "bash", "-c", script})
	out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("in %s: %v\n%s", image, err, out)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func TestImageHasTheUserAndItsDirectories(t *testing.T) {
	got := inside(t, image(t, "small"), `
id -u vcap; id -u stackato; id -un 2000
stat -c '%n %U %G %a' /home/vcap /home/vcap/app /home/vcap/deps /home/vcap/logs /home/vcap/tmp
readlink /home/stackato
echo ~stackato
echo "$LANG $PATH"
find / -xdev -type f \( -perm -4000 -o -perm -2000 \) 2>/dev/null || true
`)
	want := []string{
		"2000", "2000", "vcap",
		"/home/vcap vcap vcap 755", "/home/vcap/app vcap vcap 755", "/home/vcap/deps vcap vcap 755",
		"/home/vcap/logs vcap vcap 755", "/home/vcap/tmp vcap vcap 755",
		"vcap",
		"/home/vcap",
		"C.UTF-8 /usr/local/bin:/usr/bin:/bin",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestImageHasItsTools(t *testing.T) {
	got := inside(t, image(t, "small"), `
set -e
for tool in bash curl /usr/sbin/nginx python3 unzip ps; do
	command -v "$tool" >/dev/null || echo "$tool is missing"
done
test -s /etc/ssl/certs/ca-certificates.crt || echo no certificates
python3 -m venv /tmp/venv && /tmp/venv/bin/pip --version >/dev/null && echo venv works
grep '^variant=' /etc/stackato-stack
`)
	if diff := cmp.Diff([]string{"venv works", "variant=small"}, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestNameChangesWithTheDefinitionOnly(t *testing.T) {
	name := func(variant string) string {
		out, err := exec.Command("../scripts/stack", "--name", variant).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	small, full := name("small"), name("full")
	if small != name("small") || small == full {
		t.Errorf("names: small %q, then %q; full %q", small, name("small"), full)
	}
	if !strings.HasPrefix(small, "stackato/stack:small-") || !strings.HasPrefix(full, "stackato/stack:full-") {
		t.Errorf("names: %q, %q", small, full)
	}
	if out, err := exec.Command("../scripts/stack", "huge").CombinedOutput(); err == nil || !strings.Contains(string(out), "small|full") {
		t.Errorf("unknown variant: %v\n%s", err, out)
	}
}

// TestTwoBuildsAreTheSame builds the small stack twice and compares byte by
// byte; file by file, to say what differs. Only an update of Debian's archive in
// between may make a difference.
func TestTwoBuildsAreTheSame(t *testing.T) {
	if os.Getenv("STACKATO_TEST_LONG") != "1" {
		t.Skip("builds the small stack twice: set STACKATO_TEST_LONG=1")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	dir := t.TempDir()
	var digests [2]string
	var files [2]map[string]string
	for i := range digests {
		archive := fmt.Sprintf("%s/%d.tar", dir, i)
		if out, err := exec.CommandContext(ctx, "./build.sh", "small", archive).CombinedOutput(); err != nil {
			t.Fatalf("build.sh small: %v\n%s", err, out)
		}
		f, err := os.Open(archive)
		if err != nil {
			t.Fatal(err)
		}
		whole := sha256.New()
		files[i], err = entries(io.TeeReader(f, whole))
		if err == nil {
			_, err = io.Copy(whole, f) // what stands after the archive's end
		}
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		digests[i] = fmt.Sprintf("%x", whole.Sum(nil))
	}
	if diff := cmp.Diff(files[0], files[1]); diff != "" || len(files[0]) < 1000 {
		t.Errorf("%d files; the second build differs from the first (-, +):\n%s", len(files[0]), diff)
	}
	if digests[0] != digests[1] {
		t.Errorf("the archives have the digests %s", digests)
	}
}

// entries describes each file of a tar archive by all that it holds.
func entries(r io.Reader) (map[string]string, error) {
	out := map[string]string{}
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, archive); err != nil {
			return nil, err
		}
		out[h.Name] = fmt.Sprintf("%c %o %d:%d %s %v %x", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Linkname, h.ModTime.Unix(), sum.Sum(nil))
	}
}
