package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stackato/stackato/test/cluster"
)

// goneWithin is how long after its deletion something of an app may be left.
const goneWithin = 60 * time.Second

// cmdGone is gone APP-GUID [DIGEST…].
func (c *cloud) cmdGone(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args[0]) < 36 {
		ts.Fatalf("usage: gone APP-GUID [DIGEST…]")
	}
	ctx, cancel := context.WithTimeout(context.Background(), goneWithin)
	defer cancel()
	ts.Check(c.WaitFor(ctx, "nothing to be left of the app", func() error {
		left := errors.Join(c.leftInNomad(ctx, args[0]), c.leftInDocker(ctx, args[0]))
		for _, digest := range args[1:] {
			if holder := c.holder(digest); holder != "" {
				left = errors.Join(left, fmt.Errorf("%s holds blob %s", holder, digest))
			}
		}
		return left
	}))
}

// cmdHeld is held DIGEST: a controller holds a blob.
func (c *cloud) cmdHeld(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: held DIGEST")
	}
	if c.holder(args[0]) == "" {
		ts.Fatalf("no node holds blob %s", args[0])
	}
}

// holder names a node that has a blob on its disk, or returns "".
func (c *cloud) holder(digest string) string {
	for _, n := range c.Nodes() {
		if found, _ := filepath.Glob(n.HostPath(cluster.DataDir + "/controller/blobs/blobs/*/" + digest)); len(found) > 0 {
			return n.Name
		}
	}
	return ""
}

// leftInNomad names jobs that still are to run for an app, known by the label
// of their containers.
func (c *cloud) leftInNomad(ctx context.Context, app string) error {
	text, err := c.nomad(ctx, "/v1/jobs")
	if err != nil {
		return err
	}
	var jobs []struct{ ID, Status string }
	if err := json.Unmarshal([]byte(text), &jobs); err != nil {
		return err
	}
	for _, job := range jobs {
		if job.Status == "dead" {
			continue // Nomad itself forgets it later
		}
		spec, err := c.nomad(ctx, "/v1/job/"+job.ID)
		if err != nil {
			return err
		}
		if strings.Contains(spec, app) {
			return fmt.Errorf("job %s is %s", job.ID, job.Status)
		}
	}
	return nil
}

func (c *cloud) leftInDocker(ctx context.Context, app string) error {
	for _, n := range c.Nodes() {
		out, err := n.Exec(ctx, "docker", "ps", "--all", "--quiet", "--filter", "label=stackato.app="+app)
		if err != nil {
			return err
		}
		if ids := strings.Fields(out); len(ids) > 0 {
			return fmt.Errorf("%s has containers %v", n.Name, ids)
		}
	}
	return nil
}

// cmdNomadLacks is nomad-lacks TEXT. It is an error if it does not find what
// must be there.
func (c *cloud) cmdNomadLacks(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: nomad-lacks TEXT")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	all, err := c.nomadState(ctx)
	ts.Check(err)
	if !strings.Contains(all, "stackato-launcher") {
		ts.Fatalf("Nomad's state (%d bytes) has no app at all", len(all))
	}
	if strings.Contains(all, args[0]) {
		ts.Fatalf("Nomad's state holds %q", args[0])
	}
}

// nomadState is all that Nomad's API tells of jobs, allocations, evaluations,
// deployments and variables.
func (c *cloud) nomadState(ctx context.Context) (string, error) {
	var all strings.Builder
	for _, kind := range []struct{ list, one string }{
		{"/v1/jobs", "/v1/job/"},
		{"/v1/allocations", "/v1/allocation/"},
		{"/v1/evaluations", "/v1/evaluation/"},
		{"/v1/deployments", "/v1/deployment/"},
		{"/v1/nodes", "/v1/node/"},
		{"/v1/vars", ""},
		{"/v1/services", ""},
	} {
		list, err := c.nomad(ctx, kind.list)
		if err != nil {
			return "", err
		}
		all.WriteString(list)
		var ids []struct{ ID string }
		if err := json.Unmarshal([]byte(list), &ids); err != nil {
			return "", err
		}
		for _, id := range ids {
			if kind.one == "" || id.ID == "" {
				continue
			}
			one, err := c.nomad(ctx, kind.one+id.ID)
			if err != nil {
				return "", err
			}
			all.WriteString(one)
		}
	}
	return all.String(), nil
}
