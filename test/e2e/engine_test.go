package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// engineRestarts ends the Docker Engine of the only DEA. Killed, with
// live-restore, which the node image has, nothing of the apps ends, and every
// request is answered. Told to end, without it, all instances end with it:
// Nomad cannot make them again in place while the engine is away, so others
// take their place, each once.
func engineRestarts(t *testing.T, c *cloud) {
	u := c.newUser(t)
	ctx := bounded(t, 4*time.Minute)
	n := c.Node(0)
	const count = 2
	app := u.push("stays", count)
	u.await("all instances to run", func() error { return u.running(app, count) })
	before, err := u.stats(app)
	must(t, err)
	names := func(all []stat) (out []string) {
		for _, s := range all {
			out = append(out, s.InstanceGUID)
		}
		return out
	}
	ids := func() (out []string, err error) {
		list, err := containers(ctx, n, app)
		for _, one := range list {
			if one.State == "running" {
				out = append(out, one.ID)
			}
		}
		slices.Sort(out)
		return out, err
	}
	was, err := ids()
	must(t, err)
	l, err := c.startLoad(ctx, appURL("stays"))
	must(t, err)
	defer l.stop()

	must(t, n.KillProcess(ctx, "dockerd"))
	must(t, c.WaitFor(ctx, "the engine to be there again", func() error {
		now, err := ids()
		if err == nil && !slices.Equal(now, was) {
			err = fmt.Errorf("containers were %v and are %v", was, now)
		}
		return err
	}))
	must(t, c.WaitHealthy(ctx))
	must(t, u.running(app, count))
	served, failed := l.stop()
	if len(failed) > 0 {
		t.Errorf("the engine was killed: %d of %d requests failed, first: %s", len(failed), served, failed[0])
	}
	after, err := u.stats(app)
	must(t, err)
	if !slices.Equal(names(before), names(after)) {
		t.Errorf("the engine was killed: instances were %v and are %v", names(before), names(after))
	}

	_, err = n.Exec(ctx, "sh", "-ec", `sed -i 's/"live-restore": true/"live-restore": false/' /etc/docker/daemon.json
pkill -HUP -x dockerd; while docker info -f '{{.LiveRestoreEnabled}}' | grep -q true; do sleep 0.1; done; pkill -TERM -x dockerd`)
	must(t, err)
	must(t, c.WaitFor(ctx, "other containers", func() error {
		now, err := ids()
		if err != nil {
			return err
		}
		if len(now) > count {
			t.Errorf("%d containers run for %d instances", len(now), count)
		}
		if len(now) != count || slices.ContainsFunc(now, func(id string) bool { return slices.Contains(was, id) }) {
			return fmt.Errorf("they are %v, and were %v", now, was)
		}
		return nil
	}))
	u.await("all instances to run again", func() error { return u.running(app, count) })
	must(t, c.WaitHealthy(ctx))
	must(t, c.wants(ctx, appURL("stays"), 200, nil))
	now, err := ids()
	if err != nil || len(now) != count {
		t.Errorf("%d containers run for %d instances, %v", len(now), count, err)
	}
	u.run("delete", "stays", "-r", "-f")
}
