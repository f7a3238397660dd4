package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/test/cluster"
)

// TestFullDisk fills the Primary's data disk while clients write. The node
// says so and gives up leadership, and works again when there is room.
func TestFullDisk(t *testing.T) {
	ctx := bounded(t, 90*time.Second)
	c := cluster.New(t, cluster.Options{
		Nodes: 3, Roles: cluster.EveryController, NoDocker: true, DataDiskMiB: 64, AgentEnv: agentAlone,
	})
	must(t, c.Form(ctx))
	must(t, c.WaitFor(ctx, "three voters", func() error { return votersAre(ctx, c.Node(0), names(c.Nodes())) }))
	l := startLoad(t, fixed(c.Nodes()...)...)
	must(t, l.progress(ctx, c, 2, c.Nodes()...))

	full, err := c.Primary(ctx)
	must(t, err)
	rest := without(c.Nodes(), full)
	_, err = full.Exec(ctx, "dd", "if=/dev/zero", "of="+cluster.DataDir+"/fill", "bs=4k")
	var failed *cluster.CommandError
	if !errors.As(err, &failed) {
		t.Fatalf("the disk did not get full: %v", err)
	}
	// Large settings: the log needs room now, not when its file grows next.
	grow := growLog(ctx, c, rest[0])
	_, err = primaryAmong(ctx, c, rest)
	must(t, err)
	grow()
	must(t, c.WaitFor(ctx, full.Name+" to say what it lacks", func() error { return saysFull(ctx, rest[0], full) }))
	must(t, l.progress(ctx, c, 5, rest...))

	_, err = full.Exec(ctx, "rm", cluster.DataDir+"/fill")
	must(t, err)
	must(t, l.progress(ctx, c, 3, c.Nodes()...))
	must(t, c.WaitFor(ctx, "every controller to run", func() error {
		s, err := rest[0].Client().Status(ctx, true)
		if err != nil {
			return err
		}
		return controllersRun(s)
	}))
	l.finish(ctx, t, c)
}

// growLog writes large settings through n until its result is called.
func growLog(ctx context.Context, c *cluster.Cluster, n *cluster.Node) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	big := make([]byte, 60<<10)
	for i := range big {
		big[i] = 'x'
	}
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			// An error is what the test is about.
			_, _ = n.Client().ConfigSet(ctx, local.ConfigSetRequest{
				Key: fmt.Sprintf("big/k%d", i%50), Value: []byte(`"` + string(big) + `"`),
			})
		}
	}()
	return func() { cancel(); <-done }
}

// saysFull is nil when the node's own inspection and its status name the disk.
func saysFull(ctx context.Context, from, full *cluster.Node) error {
	findings, err := full.Client().Inspect(ctx, []string{"disk"}, nil)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(findings, func(f local.Finding) bool { return f.Status == local.FindingFail && f.Remedy != "" }) {
		return fmt.Errorf("inspect disk says %+v", findings)
	}
	s, err := from.Client().Status(ctx, true)
	if err != nil {
		return err
	}
	for _, n := range s.Nodes {
		for _, r := range n.Roles {
			if n.Name == full.Name && r.Role == node.Controller && r.State == local.StateFailed && strings.Contains(r.Detail, "no space left") {
				return nil
			}
		}
	}
	return fmt.Errorf("status says %+v", s.Nodes)
}

func controllersRun(s local.Status) error {
	for _, n := range s.Nodes {
		for _, r := range n.Roles {
			if r.Role == node.Controller && r.State != local.StateRunning {
				return fmt.Errorf("controller on %s is %s: %s", n.Name, r.State, r.Detail)
			}
		}
	}
	return nil
}
