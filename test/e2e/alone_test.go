package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stackato/stackato/test/cluster"
)

// gossipCut drops gossip between all nodes and nothing else: apps stay where
// they are.
func gossipCut(t *testing.T, c *cloud) {
	u := c.newUser(t)
	ctx := bounded(t, 3*time.Minute)
	app := u.push("stays", 2)
	u.await("all instances to run", func() error { return u.running(app, 2) })
	before, err := u.stats(app)
	must(t, err)
	l, err := c.startLoad(ctx, appURL("stays"))
	must(t, err)
	defer l.stop()
	gossip := func(action string) {
		must(t, c.Each(ctx, func(ctx context.Context, n *cluster.Node) error {
			var errs []error
			for _, proto := range []string{"udp", "tcp"} {
				_, err := n.Exec(ctx, "iptables", "-w", "5", "-t", "mangle", action, "PREROUTING", "-p", proto, "--dport", "7301", "-j", "DROP")
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		}))
	}
	gossip("-I")
	must(t, c.WaitFor(ctx, "gossip to miss everybody", func() error { return gossipSees(ctx, c, false) }))
	for range 20 {
		must(t, c.wants(ctx, appURL("stays"), 200, nil))
		must(t, u.running(app, 2))
	}
	u.push("meanwhile", 1)
	must(t, c.wants(ctx, appURL("meanwhile"), 200, nil))
	gossip("-D")
	must(t, c.WaitFor(ctx, "gossip to see everybody", func() error { return gossipSees(ctx, c, true) }))
	after, err := u.stats(app)
	must(t, err)
	for i := range before {
		if before[i].InstanceGUID != after[i].InstanceGUID || before[i].Host != after[i].Host {
			t.Errorf("instance %d was %s on %s and is %s on %s", i, before[i].InstanceGUID, before[i].Host, after[i].InstanceGUID, after[i].Host)
		}
	}
	if count, failed := l.stop(); len(failed) > 0 {
		t.Errorf("%d of %d requests failed, first: %s", len(failed), count, failed[0])
	}
	u.run("delete", "stays", "-r", "-f")
	u.run("delete", "meanwhile", "-r", "-f")
}

// gossipSees is an error unless every node sees all others by gossip, or none.
func gossipSees(ctx context.Context, c *cloud, want bool) error {
	for _, n := range c.Nodes() {
		members, err := n.Client().Nodes(ctx)
		if err != nil {
			return err
		}
		for _, m := range members {
			if m.Name != n.Name && (m.Gossip == "alive") != want {
				return fmt.Errorf("%s takes %s for %s", n.Name, m.Name, m.Gossip)
			}
		}
	}
	return nil
}

// fullBlobDisk fills the controllers' disks up to what is kept for the state:
// uploads are refused, everything else goes on.
func fullBlobDisk(t *testing.T, c *cloud) {
	u := c.newUser(t)
	ctx := bounded(t, 4*time.Minute)
	app := u.push("before", 1)
	u.push("calm", 1)
	l, err := c.startLoad(ctx, appURL("before"))
	must(t, err)
	defer l.stop()
	fill := cluster.DataDir + "/fill"
	free := func(ctx context.Context) {
		for _, n := range c.Nodes()[:3] {
			_, err := n.Exec(ctx, "rm", "-f", fill)
			must(t, err)
		}
	}
	defer free(context.WithoutCancel(ctx)) // also for the tests that follow a failure
	for _, n := range c.Nodes()[:3] {
		_, err := n.Exec(ctx, "sh", "-c", `fallocate -l $(($(df --output=avail -k "$1" | tail -1) - 900 * 1024))K "$2"`, "sh", cluster.DataDir, fill)
		must(t, err)
	}
	for _, command := range [][]string{
		{"push", "before", "-p", u.dir + "/identity", "-b", "binary_buildpack"},
		{"push", "new", "-p", u.dir + "/identity", "-b", "binary_buildpack", "-c", "python3 server.py"},
	} {
		out, err := u.try(command...)
		if err == nil || !strings.Contains(out, "is full") {
			t.Errorf("cf %s: %v, want the disk to be full:\n%s", command[0], err, out)
		}
	}
	u.run("set-env", "before", "WRITTEN", "meanwhile")
	u.run("map-route", "before", domain, "--hostname", "beside")
	u.await("the new route", func() error { return c.wants(ctx, appURL("beside"), 200, nil) })
	u.run("scale", "before", "-i", "2")
	u.await("two instances", func() error { return u.running(app, 2) })
	u.await("the logs", func() error {
		out, err := u.try("logs", "before", "--recent")
		if err != nil || strings.Count(out, "is up") < 2 {
			return fmt.Errorf("%w in:\n%s", err, out)
		}
		return nil
	})
	u.run("restart", "calm", "--strategy", "rolling") // cf would stage the other one, whose last upload failed
	if count, failed := l.stop(); len(failed) > 0 {
		t.Errorf("%d of %d requests failed, first: %s", len(failed), count, failed[0])
	}
	free(ctx)
	u.push("before", 2)
	u.run("delete", "before", "-r", "-f")
	u.run("delete", "calm", "-r", "-f")
	u.run("delete", "new", "-r", "-f")
}

// routersAlone cuts the power of every controller. Routers serve what they
// know, and ask the node before they lead anybody to a port: it may have
// become another's.
func routersAlone(t *testing.T, c *cloud) {
	u := c.newUser(t)
	ctx := bounded(t, 5*time.Minute)
	u.push("serves", 2)
	moved := u.push("moved", 1)
	u.await("the instance to run", func() error { return u.running(moved, 1) })
	all, err := u.stats(moved)
	must(t, err)
	i := slices.IndexFunc(c.Nodes(), func(n *cluster.Node) bool { return n.Address == all[0].Host })
	dea, port := c.Node(i), all[0].Ports[0].External
	controllers, rest := c.Nodes()[:3], c.Nodes()[3:]
	for _, n := range controllers {
		must(t, n.Kill(ctx))
	}
	must(t, c.WaitFor(ctx, "the routers to be alone", func() error {
		for _, n := range rest {
			if err := stale(ctx, n); err != nil {
				return err
			}
		}
		return nil
	}))
	for range 50 {
		must(t, c.wants(ctx, appURL("serves"), 200, nil))
		must(t, c.wants(ctx, appURL("moved"), 200, nil))
	}

	// The instance goes, and something else gets its port.
	pids, err := dea.PIDs("nomad")
	must(t, err)
	for _, pid := range pids {
		must(t, syscall.Kill(pid, syscall.SIGSTOP)) // or it would start the instance again
	}
	list, err := containers(ctx, dea, moved)
	must(t, err)
	_, err = dea.Exec(ctx, "docker", "rm", "--force", list[0].ID)
	must(t, err)
	_, err = dea.Exec(ctx, "docker", "run", "--detach", "--name", "rogue", "--publish", fmt.Sprintf("%s:%d:8080", dea.Address, port),
		"--entrypoint", "python3", c.image, "-m", "http.server", "8080")
	must(t, err)
	must(t, c.WaitFor(ctx, "another's app to have the port", func() error { return answersOn(ctx, rest[0], dea, port) }))
	for range 20 {
		a, err := c.get(ctx, appURL("moved"), false)
		must(t, err)
		if a.status != 502 && a.status != 503 {
			t.Fatalf("the port is another's, the answer is %s", a.text)
		}
		must(t, c.wants(ctx, appURL("serves"), 200, nil))
	}
	_, err = dea.Exec(ctx, "docker", "rm", "--force", "rogue")
	must(t, err)
	for _, pid := range pids {
		must(t, syscall.Kill(pid, syscall.SIGCONT))
	}
	for _, n := range controllers {
		must(t, n.Start(ctx))
	}
	must(t, c.WaitHealthy(ctx))
	u.await("the instance to run again", func() error { return u.running(moved, 1) })
	u.await("its route", func() error { return c.wants(ctx, appURL("moved"), 200, nil) })
	u.run("delete", "serves", "-r", "-f")
	u.run("delete", "moved", "-r", "-f")
}

// stale is an error unless the router of a node says that nobody feeds it.
func stale(ctx context.Context, n *cluster.Node) error {
	text, err := from(ctx, n, "http://127.0.0.1:7302/metrics")
	if err == nil && !regexp.MustCompile(`(?m)^stackato_router_stale 1`).MatchString(text) {
		err = errors.New(n.Name + " is fed")
	}
	return err
}

// answersOn is an error unless something of http.server answers on a port of
// node to, asked from node n.
func answersOn(ctx context.Context, n, to *cluster.Node, port int) error {
	text, err := from(ctx, n, "http://"+net.JoinHostPort(to.Address, strconv.Itoa(port))+"/")
	if err == nil && !strings.Contains(text, "Directory listing") {
		err = fmt.Errorf("it says %q", text)
	}
	return err
}

// from makes a request as a process of a node would.
func from(ctx context.Context, n *cluster.Node, url string) (string, error) {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DialContext: n.Dial, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}
