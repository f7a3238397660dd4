package e2e

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/test/cluster"
)

// TestFiveNodes tries what needs controllers that run no apps, so that the
// loss of one takes no instance along: three controllers, and two nodes with
// routers and apps.
func TestFiveNodes(t *testing.T) {
	cluster.Require(t)
	if os.Getenv("STACKATO_TEST_LONG") != "1" {
		t.Skip("takes minutes: set STACKATO_TEST_LONG=1")
	}
	c := newCloud(t, cluster.Options{Nodes: 5, DataDiskMiB: 12 << 10, Roles: func(i int) []string {
		if i < 3 {
			return []string{"controller", "router"}
		}
		return []string{"router", "dea"}
	}}, "small")
	t.Run("kill", func(t *testing.T) { killedWhileDeploying(t, c) })
	t.Run("pause", func(t *testing.T) { pausedWhileDeploying(t, c) })
	t.Run("gossip", func(t *testing.T) { gossipCut(t, c) })
	t.Run("disk", func(t *testing.T) { fullBlobDisk(t, c) })
	t.Run("alone", func(t *testing.T) { routersAlone(t, c) })
}

// killedWhileDeploying cuts the power of the Primary in the middle of a
// rolling deployment. The next one ends it; no request is lost on the way.
func killedWhileDeploying(t *testing.T, c *cloud) {
	deploying(t, c, func(ctx context.Context, u *user, app string, primary *cluster.Node) {
		must(t, primary.Kill(ctx))
		u.newPrimary(ctx, t, primary)
		// What runs is known at once, whatever was not learned yet.
		for range 20 {
			all, err := u.stats(app)
			must(t, err)
			for _, s := range all {
				if s.State != "RUNNING" && s.State != "STARTING" {
					t.Errorf("after the change of Primary instance %d is %s", s.Index, s.State)
				}
			}
		}
	}, func(ctx context.Context, primary *cluster.Node) {
		must(t, primary.Start(ctx))
	})
}

// pausedWhileDeploying freezes the Primary in the middle of a deployment and
// wakes it when another one has taken over: it does no harm.
func pausedWhileDeploying(t *testing.T, c *cloud) {
	deploying(t, c, func(ctx context.Context, u *user, _ string, primary *cluster.Node) {
		must(t, primary.Pause(ctx))
		t.Cleanup(func() { _ = primary.Unpause(context.Background()) }) // in case of a failure
		u.newPrimary(ctx, t, primary)
		must(t, primary.Unpause(ctx))
	}, func(context.Context, *cluster.Node) {})
}

func deploying(
	t *testing.T, c *cloud, harm func(ctx context.Context, u *user, app string, primary *cluster.Node),
	after func(ctx context.Context, primary *cluster.Node),
) {
	const instances = 4
	ctx := bounded(t, 5*time.Minute)
	primary, err := c.Primary(ctx)
	must(t, err)
	c.avoid.Store(primary)
	defer c.avoid.Store(nil)
	u := c.newUser(t)
	name := "rolling-" + path.Base(t.Name())
	app := u.push(name, instances)
	u.await("all instances to run", func() error { return u.running(app, instances) })
	deas := c.Nodes()[3:]
	w := watchApp(ctx, app, deas)
	u.await("the watch", func() error {
		if seen := w.seen(); len(seen) != 1 {
			return fmt.Errorf("it sees %v", seen)
		}
		return nil
	})
	l, err := c.startLoad(ctx, appURL(name))
	must(t, err)
	defer l.stop()
	u.run("restart", name, "--strategy", "rolling", "--no-wait")
	u.await("the new version to answer beside the old one", func() error {
		if seen := w.seen(); len(seen) != 2 {
			return fmt.Errorf("seen %v", seen)
		}
		return nil
	})
	harm(ctx, u, app, primary)
	u.await("the deployment to end", func() error {
		out, err := u.try("curl", "--fail", "/v3/deployments?app_guids="+app+"&order_by=-created_at")
		if err != nil {
			return err
		}
		if reason, err := pick(out, ".resources.0.status.reason"); err != nil || reason != "DEPLOYED" {
			return fmt.Errorf("it is %q, %w", reason, err)
		}
		return nil
	})
	u.await("the new instances and no others", func() error { return exactly(ctx, deas, app, instances) })
	u.await("all instances to be shown", func() error { return u.running(app, instances) })
	after(ctx, primary)
	must(t, c.WaitHealthy(ctx))
	// What the returned one may do, it has done by now.
	must(t, exactly(ctx, c.Nodes(), app, instances))
	fewest, most := w.stop(t)
	count, failed := l.stop()
	t.Logf("%d requests, %d failed; %d to %d instances", count, len(failed), fewest, most)
	if len(failed) > 0 {
		t.Errorf("%d of %d requests failed, first: %s", len(failed), count, failed[0])
	}
	if fewest < instances {
		t.Errorf("only %d of %d instances answered at some time: %s", fewest, instances, strings.Join(w.then, "; "))
	}
	u.run("delete", name, "-r", "-f")
}
