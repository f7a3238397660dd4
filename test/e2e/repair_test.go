package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/test/cluster"
)

// strangers stops the job of an app behind Stackato's back, and registers one
// that no app has: both are put right. A job that is not Stackato's stays.
func strangers(t *testing.T, c *cloud) {
	u := c.newUser(t)
	ctx := bounded(t, 3*time.Minute)
	app := u.push("repaired", 2)
	id, job := c.jobOf(ctx, t, app)
	const (
		nobody  = "99999999-9999-4999-8999-999999999999"
		foreign = "somebody-elses"
	)
	unknown := "app-" + nobody + "-1"
	c.register(ctx, t, foreign, strings.ReplaceAll(job, app, foreign))
	c.register(ctx, t, unknown, strings.ReplaceAll(job, app, nobody))
	_, err := c.nomadDo(ctx, "DELETE", "/v1/job/"+id+"?purge=true", "")
	must(t, err)
	must(t, c.WaitFor(ctx, "the unknown job to be stopped", func() error {
		text, err := c.nomad(ctx, "/v1/jobs")
		if err != nil {
			return err
		}
		if status := jobStatus(t, text, unknown); status != "" && status != "dead" {
			return errors.New("it is " + status)
		}
		return nil
	}))
	must(t, c.WaitFor(ctx, "the app's own job to be there again", func() error {
		return errors.Join(exactly(ctx, c.Nodes(), app, 2), exactly(ctx, c.Nodes(), nobody, 0))
	}))
	u.await("the app to answer", func() error { return c.wants(ctx, appURL("repaired"), 200, nil) })
	text, err := c.nomad(ctx, "/v1/jobs")
	must(t, err)
	if status := jobStatus(t, text, foreign); status == "" || status == "dead" {
		t.Errorf("a job that is not Stackato's is %q", status)
	}
	_, err = c.nomadDo(ctx, "DELETE", "/v1/job/"+foreign+"?purge=true", "")
	must(t, err)
	u.run("delete", "repaired", "-r", "-f")
}

// jobOf finds the job that runs an app, and what Nomad has of it.
func (c *cloud) jobOf(ctx context.Context, t *testing.T, app string) (id, spec string) {
	t.Helper()
	text, err := c.nomad(ctx, "/v1/jobs?prefix=app-")
	must(t, err)
	var jobs []struct{ ID, Status string }
	must(t, json.Unmarshal([]byte(text), &jobs))
	for _, j := range jobs {
		spec, err := c.nomad(ctx, "/v1/job/"+j.ID)
		must(t, err)
		if j.Status != "dead" && strings.Contains(spec, app) {
			return j.ID, spec
		}
	}
	t.Fatalf("no job of app %s in %s", app, text)
	return "", ""
}

// register gives Nomad a job that is as another one, but for its name.
func (c *cloud) register(ctx context.Context, t *testing.T, id, spec string) {
	t.Helper()
	var job map[string]any
	must(t, json.Unmarshal([]byte(spec), &job))
	job["ID"], job["Name"] = id, id
	body, err := json.Marshal(map[string]any{"Job": job})
	must(t, err)
	_, err = c.nomadDo(ctx, "PUT", "/v1/jobs", string(body))
	must(t, err)
}

func jobStatus(t *testing.T, list, id string) string {
	t.Helper()
	var jobs []struct{ ID, Status string }
	must(t, json.Unmarshal([]byte(list), &jobs))
	for _, j := range jobs {
		if j.ID == id {
			return j.Status
		}
	}
	return ""
}

// apart wants apps of one instance on different nodes: one that is lost must
// not take all of them along.
func apart(t *testing.T, c *cloud) {
	u := c.newUser(t)
	on := map[string]int{}
	names := []string{"apart-1", "apart-2", "apart-3"}
	for _, name := range names {
		app := u.push(name, 1)
		for host := range u.hosts(app) {
			on[host]++
		}
	}
	if len(on) < 2 {
		t.Errorf("three apps of one instance are on %v", on)
	}
	for _, name := range names {
		u.run("delete", name, "-r", "-f")
	}
}

// overZones wants as many instances in a zone of one node as in one of two.
func overZones(t *testing.T, c *cloud) {
	u := c.newUser(t)
	single := c.Node(2).Address
	for _, name := range []string{"zones-1", "zones-2"} {
		app := u.push(name, 4)
		u.await("all instances to run", func() error { return u.running(app, 4) })
		if on := u.hosts(app); on[single] != 2 || len(on) != 3 {
			t.Errorf("instances on %v, two should be in the zone of %s", on, single)
		}
	}
	for _, name := range []string{"zones-1", "zones-2"} {
		u.run("delete", name, "-r", "-f")
	}
}

// pausedWithApps freezes the Primary, which runs instances too. Logs of the
// others are shown meanwhile; nothing is left twice when it wakes.
func pausedWithApps(t *testing.T, c *cloud) {
	u := c.newUser(t)
	ctx := bounded(t, 4*time.Minute)
	app := u.push("frozen", 3)
	u.await("all instances to run", func() error { return u.running(app, 3) })
	primary, err := c.Primary(ctx)
	must(t, err)
	c.avoid.Store(primary)
	defer c.avoid.Store(nil)
	before, err := u.stats(app)
	must(t, err)
	u.await("all logs", func() error { return logsOf(u, before, nil) })
	l, err := c.startLoad(ctx, appURL("frozen"))
	must(t, err)
	defer l.stop()

	others := containerIDs(ctx, t, c.without(primary), app)
	must(t, primary.Pause(ctx))
	t.Cleanup(func() { _ = primary.Unpause(context.Background()) }) // in case of a failure
	began := time.Now()
	u.await("the logs of the nodes that answer", func() error { return logsOf(u, before, primary) })
	t.Logf("cf logs --recent beside a dead Primary: %s, with the change of Primary", time.Since(began).Round(time.Millisecond))
	began = time.Now()
	must(t, logsOf(u, before, primary))
	t.Logf("cf logs --recent beside a dead node: %s", time.Since(began).Round(time.Millisecond))
	u.newPrimary(ctx, t, primary)
	u.await("three instances elsewhere", func() error {
		if err := u.running(app, 3); err != nil {
			return err
		}
		return exactly(ctx, c.without(primary), app, 3)
	})
	// A new leader must not take the nodes for lost that it has not heard of yet.
	now := containerIDs(ctx, t, c.without(primary), app)
	for id := range others {
		if !now[id] {
			t.Errorf("container %s of a node that was up has been replaced", id[:12])
		}
	}
	must(t, primary.Unpause(ctx))
	must(t, c.WaitHealthy(ctx))
	u.await("three instances and no more", func() error { return exactly(ctx, c.Nodes(), app, 3) })
	must(t, u.running(app, 3))
	count, failed := l.stop()
	t.Logf("%d requests, %d failed", count, len(failed))
	// Those that the frozen instance had taken end with it.
	if len(failed) > loadClients {
		t.Errorf("%d of %d requests failed, first: %s", len(failed), count, failed[0])
	}
	u.run("delete", "frozen", "-r", "-f")
}

// logsOf is an error unless cf logs --recent shows what each instance but
// those of a node has said.
func logsOf(u *user, all []stat, but *cluster.Node) error {
	out, err := u.try("logs", "frozen", "--recent")
	if err != nil {
		return err
	}
	for _, s := range all {
		if (but == nil || s.Host != but.Address) && !strings.Contains(out, "instance "+s.InstanceGUID+" is up") {
			return fmt.Errorf("no line of instance %s in:\n%s", s.InstanceGUID, out)
		}
	}
	return nil
}

// allOff cuts the power of every node at once.
func allOff(t *testing.T, c *cloud) {
	u := c.newUser(t)
	ctx := bounded(t, 5*time.Minute)
	app := u.push("again", 3)
	u.await("all instances to run", func() error { return u.running(app, 3) })
	must(t, c.KillAll(ctx))
	began := time.Now()
	must(t, c.StartAll(ctx))
	must(t, c.WaitFor(ctx, "the app to answer", func() error { return c.wants(ctx, appURL("again"), 200, nil) }))
	t.Logf("an app answers %s after all nodes were switched on", time.Since(began).Round(100*time.Millisecond))
	must(t, c.WaitHealthy(ctx))
	must(t, c.WaitFor(ctx, "three instances and no others", func() error {
		if err := u.running(app, 3); err != nil {
			return err
		}
		return exactly(ctx, c.Nodes(), app, 3)
	}))
	u.push("after", 1)
	u.run("delete", "after", "-r", "-f")
	u.run("delete", "again", "-r", "-f")
}
