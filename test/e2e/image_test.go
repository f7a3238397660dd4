package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/test/cluster"
)

// TestImageComesLate pushes to a cluster whose DEA lacks the stack's image:
// developer and operator are told what is missing and what to do, and all goes
// on once the image is there.
func TestImageComesLate(t *testing.T) {
	cluster.Require(t)
	if os.Getenv("STACKATO_TEST_LONG") != "1" {
		t.Skip("waits for Nomad to hear of images: set STACKATO_TEST_LONG=1")
	}
	c := newBareCloud(t, cluster.Options{}, "small")
	n := c.Node(0)
	u := c.newUser(t)
	ctx := bounded(t, 5*time.Minute)

	push := []string{"push", "late", "-b", "binary_buildpack", "-c", "python3 server.py", "-m", "48M", "-k", "64M", "-p", u.dir + "/identity"}
	began := time.Now()
	said, err := u.try(push...)
	t.Logf("push without the image took %v:\n%s", time.Since(began).Round(time.Second), said)
	if err == nil {
		t.Fatal("pushed without an image")
	}
	told := []string{"has the image " + c.image, n.Name + " has none", "docker load"}
	holds(t, "cf push", said, told...)
	holds(t, "cf logs --recent", u.run("logs", "late", "--recent"), told...)
	operator(ctx, t, c)
	limits, err := n.Exec(ctx, "cat", "/proc/sys/kernel/pid_max", "/proc/sys/fs/inotify/max_user_instances")
	if want := "4194304\n16384"; err != nil || strings.TrimSpace(limits) != want {
		t.Errorf("limits that apps share are %q, %v; want %q", limits, err, want)
	}

	must(t, c.LoadImage(ctx, c.image))
	began = time.Now()
	u.run(push...)
	t.Logf("push right after the image came took %v", time.Since(began).Round(100*time.Millisecond))
	app := u.run("app", "late", "--guid")
	must(t, c.wants(ctx, appURL("late"), 200, nil))
	must(t, c.WaitHealthy(ctx))

	// What was staged before waits for the image.
	u.run("stop", "late")
	u.await("no container", func() error {
		out, err := n.Exec(ctx, "docker", "ps", "-aq")
		if err == nil && out != "" {
			err = fmt.Errorf("there are %q", out)
		}
		return err
	})
	_, err = n.Exec(ctx, "docker", "rmi", "-f", c.image)
	must(t, err)
	operator(ctx, t, c)
	start := func() { u.run("curl", "--fail", "-X", "POST", "/v3/apps/"+app+"/actions/start") }
	explained := func(parts ...string) {
		u.await("cf app to say why it is down", func() error {
			out, err := u.try("app", "late")
			for _, part := range append(parts, c.image, "docker load", "#0   down") {
				if err == nil && !strings.Contains(out, part) {
					err = fmt.Errorf("no %q in:\n%s", part, out)
				}
			}
			return err
		})
	}
	start() // Nomad has not heard of it yet, or just has
	explained()
	u.run("stop", "late")
	u.await("Nomad to hear of it", func() error { return withdrawn(ctx, c) })
	start()
	explained(told...)
	must(t, c.LoadImage(ctx, c.image))
	began = time.Now()
	u.await("the app to start by itself", func() error { return u.running(app, 1) })
	t.Logf("the app ran %v after the image came", time.Since(began).Round(100*time.Millisecond))
	must(t, c.wants(ctx, appURL("late"), 200, nil))
	u.run("delete", "late", "-r", "-f")
	t.Run("engine", func(t *testing.T) { engineRestarts(t, c) })
}

// operator awaits that status and inspect of a node say that it lacks the image.
func operator(ctx context.Context, t *testing.T, c *cloud) {
	t.Helper()
	n := c.Node(0)
	for _, command := range [][]string{{"status"}, {"inspect", "docker"}} {
		var out string
		err := c.WaitFor(ctx, "the operator to be told", func() error {
			out, _ = n.Kato(ctx, command...) // they fail, because something is wrong
			for _, part := range []string{c.image, "docker load"} {
				if !strings.Contains(out, part) {
					return fmt.Errorf("kato %s does not say %q:\n%s", command[0], part, out)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		t.Logf("kato %s:\n%s", command[0], out)
	}
}

// withdrawn is an error while Nomad takes a DEA for one that has an image.
func withdrawn(ctx context.Context, c *cloud) error {
	out, err := c.nomad(ctx, "/v1/nodes")
	var list []struct{ ID string }
	if err == nil {
		err = json.Unmarshal([]byte(out), &list)
	}
	for _, n := range list {
		if out, err = c.nomad(ctx, "/v1/node/"+n.ID); err != nil {
			return err
		}
		if strings.Contains(out, `"stack_stackato_stack`) {
			return fmt.Errorf("node %s has it", n.ID)
		}
	}
	return err
}

func holds(t *testing.T, what, said string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(said, part) {
			t.Errorf("%s does not say %q:\n%s", what, part, said)
		}
	}
}
