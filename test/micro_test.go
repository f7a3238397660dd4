package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// microCloud is a micro cloud on a machine of its own, driven by the script
// that make micro, micro-stop and micro-reset call.
type microCloud struct {
	*machine
	data string
	env  []string
}

func newMicroCloud(t *testing.T) *microCloud {
	t.Helper()
	m := newMachine(t)
	c := &microCloud{machine: m, data: filepath.Join(m.dir, "data"), env: []string{"STACK=small"}}
	c.giveStack()
	t.Cleanup(func() {
		// After the test's own reset there is nothing left.
		_, _ = c.micro(context.WithoutCancel(t.Context()), "reset", "-y")
	})
	return c
}

// giveStack makes sure that the machine, which cannot download anything, gets
// at the small stack: from the archive that the script keeps, or the image.
func (c *microCloud) giveStack() {
	c.t.Helper()
	out, err := exec.Command(filepath.Join(c.root, "scripts/stack"), "small").CombinedOutput()
	if err != nil {
		c.t.Fatalf("scripts/stack small: %v\n%s", err, out)
	}
	lines := strings.Fields(string(out))
	image := lines[len(lines)-1]
	cache, err := os.UserCacheDir()
	must(c.t, err)
	_, name, _ := strings.Cut(image, ":")
	if _, err := os.Stat(filepath.Join(cache, "stackato", "stack-"+name+".tar")); err == nil {
		return
	}
	if out, err := c.script(c.t.Context(), nil, "scripts/docker"); err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
	save, load := exec.Command("docker", "save", image), c.command(c.t.Context(), c.root, nil, "docker", "load")
	load.Stdin, err = save.StdoutPipe()
	must(c.t, err)
	must(c.t, load.Start())
	must(c.t, save.Run())
	must(c.t, load.Wait())
}

// micro runs scripts/micro without a terminal.
func (c *microCloud) micro(ctx context.Context, args ...string) (string, error) {
	return c.script(ctx, c.env, "scripts/micro", append(args, c.data)...)
}

// wants runs scripts/micro, which must succeed and print these texts.
func (c *microCloud) wants(ctx context.Context, action string, texts ...string) string {
	c.t.Helper()
	out, err := c.micro(ctx, strings.Fields(action)...)
	if err != nil {
		c.t.Fatalf("%s: %v:\n%s", action, err, out)
	}
	for _, text := range texts {
		if !strings.Contains(out, text) {
			c.t.Fatalf("%s: %q is missing in:\n%s", action, text, out)
		}
	}
	return out
}

// shell types lines as a person with bash does: it stops at the first that
// fails.
func (c *microCloud) shell(ctx context.Context, dir, text string) (string, error) {
	var out bytes.Buffer
	cmd := c.command(ctx, dir, []string{"CF_HOME=" + c.dir, "CF_COLOR=false"}, "bash", "-e", "-o", "pipefail", "-c", text)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// page is what a name of the micro cloud answers by HTTPS.
func (c *microCloud) page(ctx context.Context, name, want string) error {
	out, err := c.shell(ctx, c.root, fmt.Sprintf("curl -fsS --max-time 5 --cacert %s/router-ca.crt https://%s.stackato.localhost/", c.data, name))
	if err != nil || !strings.Contains(out, want) {
		return errors.Join(err, fmt.Errorf("%s answers: %s", name, out))
	}
	return nil
}

// TestMicroCloud takes a micro cloud through its life: it ends with a sample
// that the real cf has pushed and that answers by HTTPS, and so it does again
// after a stop, and after the machine's power was cut.
func TestMicroCloud(t *testing.T) {
	c := newMicroCloud(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	key := func() string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(c.data, "pki", "node.key"))
		must(t, err)
		return string(b)
	}
	const greeting = "Hello from Stackato"
	back := func(when string) {
		t.Helper()
		eventually(ctx, t, "the sample after "+when, func() error { return c.page(ctx, "hello", greeting) })
	}

	c.wants(ctx, "start", "starting the Docker Engine: done in", "starting the micro cloud: done in", "controller  running", "dea         running",
		"making org micro and space dev: done in", "pushing the sample app hello: done in", "https://hello.stackato.localhost/", "The micro cloud runs",
		c.data, "http://127.0.0.1:8500/ui", "http://127.0.0.1:4646/ui", "make micro-stop DATA="+c.data)
	if err := c.page(ctx, "hello", greeting); err != nil {
		t.Fatal(err)
	}
	out, err := c.shell(ctx, c.root, fmt.Sprintf(`export SSL_CERT_FILE=%s/router-ca.crt
		bin/cf login -a https://api.stackato.localhost -u admin -p "$(sed -n 's/^password: //p' %[1]s/admin.txt)" -o micro -s dev
		bin/cf apps`, c.data))
	if err != nil || !strings.Contains(out, "hello") {
		t.Fatalf("org micro, space dev: %v:\n%s", err, out)
	}
	first := key()

	out = c.wants(ctx, "start", "The micro cloud runs")
	for _, step := range []string{"installing", "Docker Engine", "building nomad", "stack:", "loading", "org micro", "pushing"} {
		if strings.Contains(out, step+" ") || strings.Contains(out, step+": done") {
			t.Errorf("the second start does it again, %q:\n%s", step, out)
		}
	}

	c.wants(ctx, "stop", "stopping the agent: done in", "stopping nomad: done in", "stopping consul: done in", "are kept")
	if left := processesOn(t, c.data); left != "" {
		t.Errorf("micro stop has left:\n%s", left)
	}
	out = c.wants(ctx, "start", "The micro cloud runs")
	if key() != first || strings.Contains(out, "pushing") {
		t.Errorf("the node has another key after stop and start, or the sample was pushed again:\n%s", out)
	}
	back("stop and start")

	c.off()
	c.on()
	c.env = append(c.env, "SAMPLE=no") // it comes back by itself
	c.wants(ctx, "start", "starting the Docker Engine", "starting the micro cloud", "The micro cloud runs")
	if key() != first {
		t.Error("the node has another key after its power was cut")
	}
	back("its power was cut")

	resets(ctx, t, c, key, first)
}

// resets tries the ways to say no to deletion, then deletes.
func resets(ctx context.Context, t *testing.T, c *microCloud, key func() string, first string) {
	if out, err := c.micro(ctx, "reset"); err == nil || !strings.Contains(out, "FORCE=1 make micro-reset") || key() != first {
		t.Errorf("reset without a terminal did not refuse: %v\n%s", err, out)
	}
	answer := func(text string) (string, error) {
		x, asked := newTerminal(t), false
		return x.run(c.command(ctx, c.root, c.env, filepath.Join(c.root, "scripts/micro"), "reset", c.data), func(shown string) {
			if !asked && strings.Contains(shown, "all its data in "+c.data+"? [y/N]") {
				asked = true
				must(t, x.typeLine(text))
			}
		})
	}
	for _, no := range []string{"n", "", "yess"} {
		if out, err := answer(no); err == nil || !strings.Contains(out, "nothing deleted") || key() != first {
			t.Errorf("reset, answered with %q: %v\n%s", no, err, out)
		}
	}
	if err := c.page(ctx, "hello", "Hello"); err != nil {
		t.Errorf("after reset was refused: %v", err)
	}
	if out, err := answer("y"); err != nil || !strings.Contains(out, "deleted "+c.data) {
		t.Errorf("reset, answered with y: %v\n%s", err, out)
	}
	if _, err := os.Stat(c.data); !os.IsNotExist(err) {
		t.Errorf("the data are still there: %v", err)
	}
	if left := processesOn(t, c.data); left != "" {
		t.Errorf("micro reset has left:\n%s", left)
	}
	if out, err := c.shell(ctx, c.root, "cat /etc/hosts; iptables-save; ip address; docker ps --all --quiet --filter label=stackato.kind"); err != nil ||
		strings.Contains(strings.ToLower(out), "stackato") || strings.Contains(out, "169.254.53.53") || out == "" {
		t.Errorf("micro reset has left in the hosts file, the firewall, of addresses or containers: %v\n%s", err, out)
	}
}

// processesOn lists processes whose command line names the directory.
func processesOn(t *testing.T, dir string) string {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found strings.Builder
	for _, l := range lines {
		if b, err := os.ReadFile(l); err == nil && bytes.Contains(b, []byte(dir+"/")) {
			found.WriteString(strings.ReplaceAll(string(b), "\x00", " ") + "\n")
		}
	}
	return found.String()
}
