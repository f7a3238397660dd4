package test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// codeBlocks returns the blocks of code below a heading of a document.
func codeBlocks(text, heading string) []string {
	_, section, _ := strings.Cut(text, "\n"+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var blocks []string
	for i, part := range strings.Split(section+"\n", "```\n") {
		if i%2 == 1 {
			blocks = append(blocks, part)
		}
	}
	return blocks
}

// needsMore matches lines for samples that the small stack has no runtime
// for. TestLanguages in test/e2e pushes these samples in the long run.
var needsMore = regexp.MustCompile(`\(cd samples/(node|go)\s`)

// TestReadme types what the README says a developer types, at a micro cloud
// with the small stack. The only change: data lie in the test's directory.
func TestReadme(t *testing.T) {
	blocks := codeBlocks(readText(t, "README.md"), "## Push an app")
	if len(blocks) != 3 || !strings.Contains(blocks[0], "cf login") || !strings.Contains(blocks[1], "cf push") || !strings.Contains(blocks[2], "cf scale") {
		t.Fatalf("the section has other blocks than logging in, pushing, day to day: %q", blocks)
	}
	var typed, left []string
	for line := range strings.Lines(blocks[1]) {
		if needsMore.MatchString(line) {
			left = append(left, needsMore.FindStringSubmatch(line)[1])
		} else {
			typed = append(typed, line)
		}
	}
	for _, sample := range left {
		languages := readText(t, "test/e2e/testdata/languages/"+sample+".txtar")
		if !strings.Contains(languages, "$SAMPLES/"+sample+"/manifest.yml") {
			t.Errorf("the README pushes samples/%s, and no test does", sample)
		}
	}
	if len(typed) != 3 || !slices.Equal(left, []string{"node", "go"}) {
		t.Fatalf("typed here: %q; elsewhere: %q", typed, left)
	}

	c := newMicroCloud(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	c.wants(ctx, "start", "The micro cloud runs")
	clone := filepath.Join(c.dir, "clone")
	must(t, os.CopyFS(filepath.Join(clone, "samples"), os.DirFS("../samples")))
	must(t, os.Symlink(filepath.Join(c.root, "bin"), filepath.Join(clone, "bin")))
	text := strings.Join([]string{blocks[0], strings.Join(typed, ""), blocks[2]}, "\n")
	out, err := c.shell(ctx, clone, "set -x\n"+strings.ReplaceAll(text, "/var/lib/stackato", c.data))
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	for _, want := range []string{"hello, hello from Python 3", "other.stackato.localhost"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q was not seen", want)
		}
	}
	t.Logf("%s", out)

	// Forgetting the membership takes back what the agent wrote elsewhere.
	c.wants(ctx, "stop", "are kept")
	before, err := c.shell(ctx, c.root, "grep -c stackato /etc/hosts; iptables-save | grep -c STACKATO-; ip address | grep 169.254.53.53")
	if err != nil {
		t.Fatalf("the micro cloud left nothing to take back: %v: %s", err, before)
	}
	if out, err := c.shell(ctx, c.root, "bin/stackato-agent reset --yes --data-dir "+c.data); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if after, err := c.shell(ctx, c.root, "! grep stackato /etc/hosts; ! iptables-save | grep STACKATO; ! ip6tables-save | grep STACKATO; ! ip address | grep 169.254.53.53"); err != nil || after != "" {
		t.Errorf("reset has left: %v: %s", err, after)
	}
}

// TestCodeBlocks: a block is what stands between fences of its section.
func TestCodeBlocks(t *testing.T) {
	text := "# T\n```\na\n```\n## One\nx\n```\nb\nc\n```\ny\n```\nd\n```\n## Two\n```\ne\n```\n"
	if got := codeBlocks(text, "## One"); !slices.Equal(got, []string{"b\nc\n", "d\n"}) {
		t.Errorf("%q", got)
	}
}
