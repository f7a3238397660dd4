package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// machines starts nodes without agents.
func machines(t *testing.T, o Options) *Cluster {
	t.Helper()
	o.NoAgent = true
	if o.BinDir == "" {
		o.BinDir = t.TempDir()
	}
	return New(t, o)
}

// importImage gives the node's Docker Engine an image that holds a shell. No
// registry is needed: it is made from the node's own files.
func importImage(t *testing.T, n *Node) {
	t.Helper()
	ctx := t.Context()
	must(t, n.cluster.WaitFor(ctx, "the inner Docker", func() error {
		_, err := n.Exec(ctx, "docker", "info")
		return err
	}))
	_, err := n.Exec(ctx, "sh", "-c", `set -e
		cd "$(mktemp -d)"; mkdir -p bin lib/x86_64-linux-gnu lib64
		cp /bin/sh /usr/bin/sleep bin/
		cp -L /lib/x86_64-linux-gnu/libc.so.6 lib/x86_64-linux-gnu/
		cp -L /lib64/ld-linux-x86-64.so.2 lib64/
		tar -c . | docker import - harness/shell:1`)
	must(t, err)
}

func TestHarnessInnerDocker(t *testing.T) {
	c := machines(t, Options{})
	ctx, n := t.Context(), c.Node(0)
	importImage(t, n)
	_, err := n.Exec(ctx, "docker", "run", "-d", "--name", "app", "--memory", "32m", "-p", "8080:8080",
		"harness/shell:1", "/bin/sh", "-c", "while :; do echo tick; sleep 0.05; done")
	must(t, err)
	ticks := func() int {
		out, err := n.Exec(ctx, "docker", "logs", "app")
		must(t, err)
		return strings.Count(out, "tick")
	}
	must(t, c.WaitFor(ctx, "output of the inner container", func() error {
		if ticks() == 0 {
			return errors.New("none")
		}
		return nil
	}))

	// What the inner Docker starts is below the node's control group, so a pause and a kill take it along.
	outer, err := docker(ctx, "inspect", "--format", "{{.Id}}", n.Container)
	must(t, err)
	inner := controlGroup(t, "while :; do echo tick")
	if !strings.Contains(inner, outer) {
		t.Errorf("the inner container is not in the node's control group %s:\n%s", outer, inner)
	}

	// The power loss takes it along; the inner Docker comes back with what it had.
	must(t, n.Kill(ctx))
	must(t, n.Start(ctx))
	must(t, c.WaitFor(ctx, "the inner Docker after a power loss", func() error {
		_, err := n.Exec(ctx, "docker", "start", "app")
		return err
	}))

	// dockerd is kept running.
	must(t, n.KillProcess(ctx, "dockerd"))
	must(t, c.WaitFor(ctx, "the inner Docker after its end", func() error {
		_, err := n.Exec(ctx, "docker", "inspect", "app")
		return err
	}))
}

// controlGroup returns the control groups, as this host sees them, of the shell that runs script.
func controlGroup(t *testing.T, script string) string {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, path := range lines {
		line, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(line), "/bin/sh\x00-c\x00"+script) {
			continue
		}
		groups, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cgroup"))
		must(t, err)
		return string(groups)
	}
	t.Fatalf("no shell runs %q", script)
	return ""
}

func TestHarnessPower(t *testing.T) {
	c := machines(t, Options{NoDocker: true})
	ctx, n := t.Context(), c.Node(0)
	if n.Name != "n1" || !strings.HasPrefix(n.Address, "10.213.") {
		t.Errorf("node is %s at %s", n.Name, n.Address)
	}
	host, err := n.Exec(ctx, "hostname")
	must(t, err)
	if host != "n1\n" {
		t.Errorf("host name is %q", host)
	}
	address := func() string {
		t.Helper()
		out, err := n.Exec(ctx, "hostname", "-I")
		must(t, err)
		return strings.TrimSpace(out)
	}
	if got := address(); got != n.Address {
		t.Errorf("address is %s, want %s", got, n.Address)
	}
	_, err = n.Exec(ctx, "sh", "-c", "echo kept >"+DataDir+"/file; echo lost >/run/file")
	must(t, err)

	must(t, n.Kill(ctx))
	if p, err := n.Processes(); err != nil || len(p) != 0 {
		t.Errorf("a node without power has processes %v, %v", p, err)
	}
	if b, err := os.ReadFile(n.HostPath(DataDir + "/file")); err != nil || string(b) != "kept\n" {
		t.Errorf("the disk of a node that is off holds %q, %v", b, err)
	}
	must(t, n.Start(ctx))
	out, err := n.Exec(ctx, "sh", "-c", "cat "+DataDir+"/file; ls /run/file")
	var failed *CommandError
	if !errors.As(err, &failed) || failed.Code == 0 || out != "kept\n" {
		t.Errorf("after a power loss: %q, %v; want the disk kept and /run empty", out, err)
	}
	if got := address(); got != n.Address {
		t.Errorf("address after a power loss is %s, want %s", got, n.Address)
	}

	must(t, n.Stop(ctx))
	must(t, n.Reset(ctx))
	if _, err := n.Exec(ctx, "ls", DataDir+"/file"); err == nil {
		t.Error("a reset node has its old disk")
	}
}

// listen answers every connection to the node's port until the node goes off.
func listen(t *testing.T, n *Node, port string) {
	t.Helper()
	_, err := n.Exec(t.Context(), "sh", "-c",
		fmt.Sprintf(`perl -MIO::Socket::INET -e '
			my $s = IO::Socket::INET->new(LocalPort => %s, Listen => 9, ReuseAddr => 1) or die $!;
			exit if fork;
			close STDIN; close STDOUT; close STDERR;
			while (my $c = $s->accept) { print $c "hello\n"; close $c }'`, port))
	must(t, err)
}

// reaches tells whether from gets an answer from to.
func reaches(ctx context.Context, from, to *Node, port string) error {
	_, err := from.Exec(ctx, "timeout", "0.5", "perl", "-MIO::Socket::INET", "-e",
		fmt.Sprintf(`my $s = IO::Socket::INET->new(PeerAddr => "%s:%s", Timeout => 1) or die "$!\n"; <$s> eq "hello\n" or die "no answer\n"`,
			to.Address, port))
	return err
}

func TestHarnessPartition(t *testing.T) {
	c := machines(t, Options{Nodes: 3, NoDocker: true})
	ctx := t.Context()
	n1, n2, n3 := c.Node(0), c.Node(1), c.Node(2)
	const port = "7000"
	for _, n := range c.Nodes() {
		listen(t, n, port)
	}
	expect := func(when string, from, to *Node, open bool) {
		t.Helper()
		if err := reaches(ctx, from, to, port); (err == nil) != open {
			t.Errorf("%s: %s reaches %s: %v, want %v (%v)", when, from.Name, to.Name, err == nil, open, err)
		}
	}
	expect("before", n1, n2, true)

	must(t, c.Partition(ctx, []*Node{n1}, []*Node{n2, n3}))
	expect("cut", n1, n2, false)
	expect("cut", n3, n1, false)
	expect("cut", n2, n3, true)
	if conn, err := net.DialTimeout("tcp", n1.Address+":"+port, time.Second); err != nil {
		t.Errorf("this host does not reach a cut-off node: %v", err)
	} else {
		_ = conn.Close()
	}

	// A cut outlives the node's restart, and can be healed while a node is paused.
	must(t, n1.Kill(ctx))
	must(t, n1.Start(ctx))
	listen(t, n1, port)
	expect("cut, restarted", n2, n1, false)
	must(t, n2.Pause(ctx))
	must(t, c.Heal(ctx))
	must(t, n2.Unpause(ctx))
	expect("healed", n2, n1, true)
	expect("healed", n1, n3, true)

	must(t, c.Isolate(ctx, n3))
	expect("isolated", n2, n3, false)
	expect("isolated", n1, n2, true)
	must(t, c.Heal(ctx))
	expect("healed again", n2, n3, true)
}

func TestHarnessPause(t *testing.T) {
	c := machines(t, Options{NoDocker: true})
	ctx, n := t.Context(), c.Node(0)
	counter := n.HostPath(DataDir + "/counter")
	_, err := n.Exec(ctx, "sh", "-c", "(while :; do echo x >>"+DataDir+"/counter; sleep 0.02; done) >/dev/null 2>&1 &")
	must(t, err)
	size := func() int64 {
		info, err := os.Stat(counter)
		if err != nil {
			return 0
		}
		return info.Size()
	}
	grows := func(above int64) func() error {
		return func() error {
			if size() <= above {
				return errors.New("nothing written")
			}
			return nil
		}
	}
	must(t, c.WaitFor(ctx, "the node to write", grows(0)))
	must(t, n.Pause(ctx))
	before := size()
	wait, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if err := c.WaitFor(wait, "a paused node to write", grows(before)); err == nil {
		t.Error("a paused node went on writing")
	}
	must(t, n.Unpause(ctx))
	must(t, c.WaitFor(ctx, "the node to write again", grows(before)))
	must(t, n.Pause(ctx))
	must(t, n.Kill(ctx)) // also out of a pause
}

func TestHarnessDataDisk(t *testing.T) {
	c := machines(t, Options{NoDocker: true, DataDiskMiB: 32})
	ctx, n := t.Context(), c.Node(0)
	_, err := n.Exec(ctx, "dd", "if=/dev/zero", "of="+DataDir+"/fill", "bs=1M", "count=64")
	var failed *CommandError
	if !errors.As(err, &failed) || !strings.Contains(failed.Stderr, "No space left") {
		t.Fatalf("64 MiB went onto a disk of 32: %v", err)
	}
	_, err = n.Exec(ctx, "sh", "-c", "rm "+DataDir+"/fill; echo kept >"+DataDir+"/file; sync")
	must(t, err)
	must(t, n.Kill(ctx))
	must(t, n.Start(ctx))
	if b, err := os.ReadFile(n.HostPath(DataDir + "/file")); err != nil || string(b) != "kept\n" {
		t.Errorf("after a power loss the disk holds %q, %v", b, err)
	}
	_, err = n.Exec(ctx, "mount", "-o", "remount,ro", DataDir)
	must(t, err)
	if _, err := n.Exec(ctx, "touch", DataDir+"/x"); err == nil {
		t.Error("a disk that was made read-only takes writes")
	}
}

// objects counts what carries a label in the Docker Engine.
func objects(t *testing.T, label string) int {
	t.Helper()
	count := 0
	for _, list := range [][]string{{"ps", "-aq"}, {"network", "ls", "-q"}, {"volume", "ls", "-q"}} {
		lines, err := dockerLines(context.Background(), append(list, "--filter", "label="+label)...)
		must(t, err)
		count += len(lines)
	}
	return count
}

func TestHarnessCleanup(t *testing.T) {
	Require(t)
	var name string
	t.Run("cluster", func(t *testing.T) {
		c := machines(t, Options{Nodes: 2, NoDocker: true})
		name = c.Name
		if got := objects(t, labelCluster+"="+name); got != 5 {
			t.Errorf("a cluster of two has %d objects, want 2 containers, 2 volumes, 1 network", got)
		}
		must(t, c.Node(0).Destroy(t.Context()))
		if got := len(c.Nodes()); got != 1 {
			t.Errorf("%d nodes after one of two was destroyed", got)
		}
		n3, err := c.Add(t.Context())
		must(t, err)
		if n3.Name != "n3" {
			t.Errorf("the added node is %s, want n3: names are not used twice", n3.Name)
		}
	})
	if got := objects(t, labelCluster+"="+name); got != 0 {
		t.Errorf("%d objects are left after the test", got)
	}
}

func TestHarnessSweep(t *testing.T) {
	Require(t)
	ctx := t.Context()
	if !ownerAlive(ownerSelf()) {
		t.Fatal("this process is not alive, by its owner label")
	}
	dead := "st-sweep-" + randomHex()
	live := "st-sweep-" + randomHex()
	run := randomHex()
	for name, owner := range map[string]string{dead: "1.1", live: ownerSelf()} {
		_, err := docker(ctx, "volume", "create", "--label", labelCluster+"="+name,
			"--label", labelTest+"="+run, "--label", labelOwner+"="+owner, name)
		must(t, err)
	}
	_, err := Sweep(ctx, "")
	must(t, err)
	if objects(t, labelCluster+"="+dead) != 0 || objects(t, labelCluster+"="+live) != 1 {
		t.Error("Sweep must remove what a dead process left, and nothing else")
	}
	_, err = Sweep(ctx, run)
	must(t, err)
	if objects(t, labelTest+"="+run) != 0 {
		t.Error("Sweep of a run left something")
	}
}

func TestOptionsRefused(t *testing.T) {
	for name, o := range map[string]Options{
		"too many nodes": {Nodes: 201},
		"negative":       {Nodes: -1},
		"tiny disk":      {DataDiskMiB: 1},
		"bad name":       {name: "A b"},
	} {
		if _, err := o.withDefaults(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestShellQuoting(t *testing.T) {
	n := &Node{volume: t.TempDir()}
	must(t, os.Mkdir(filepath.Join(n.volume, "ctl"), 0o700))
	must(t, n.SetAgentEnv(map[string]string{"A": "it's $HOME", "B": "2"}))
	out, err := run(t.Context(), input{}, "sh", "-c", `. "$0"; printf '%s|%s' "$A" "$B"`, filepath.Join(n.volume, "ctl/agent.env"))
	must(t, err)
	if out != "it's $HOME|2" {
		t.Errorf("the agent would see %q", out)
	}
}

func TestWaitForNamesTheLastError(t *testing.T) {
	c := &Cluster{}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	err := c.WaitFor(ctx, "rain", func() error { return errors.New("sun") })
	if err == nil || !strings.Contains(err.Error(), "rain") || !strings.Contains(err.Error(), "sun") {
		t.Errorf("got %v", err)
	}
}
