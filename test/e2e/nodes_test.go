package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stackato/stackato/test/cluster"
)

// TestThreeNodes tries what crosses nodes, on three with every role in two
// zones. The long run tries all scripts of one node there first, and what
// takes minutes.
func TestThreeNodes(t *testing.T) {
	cluster.Require(t)
	long := os.Getenv("STACKATO_TEST_LONG") == "1"
	c := newCloud(t, cluster.Options{Nodes: 3, Zone: func(i int) string { return []string{"east", "east", "west"}[i] }}, "small")
	if long {
		t.Run("script", func(t *testing.T) { c.runScripts(t, "testdata/script") })
	}
	t.Run("reads", func(t *testing.T) { readYourWrites(t, c) })
	t.Run("blobs", func(t *testing.T) { blobsOutliveAController(t, c) })
	t.Run("nodes", func(t *testing.T) { c.runScripts(t, "testdata/nodes") })
	if long {
		t.Run("apart", func(t *testing.T) { apart(t, c) })
		t.Run("zones", func(t *testing.T) { overZones(t, c) })
		t.Run("strangers", func(t *testing.T) { strangers(t, c) })
		t.Run("lost", func(t *testing.T) { lostUnderWay(t, c) })
		t.Run("pause", func(t *testing.T) { pausedWithApps(t, c) })
		t.Run("off", func(t *testing.T) { allOff(t, c) })
	}
}

// TestLanguages pushes the samples that need the stack with every runtime.
func TestLanguages(t *testing.T) {
	cluster.Require(t)
	if os.Getenv("STACKATO_TEST_LONG") != "1" {
		t.Skip("needs the full stack: set STACKATO_TEST_LONG=1")
	}
	c := newCloud(t, cluster.Options{}, "full")
	t.Run("script", func(t *testing.T) { c.runScripts(t, "testdata/languages") })
	c.outside = c.startOutside(t)
	c.runInTurn(t, "testdata/outside")
}

// cmdNode is node NAME-OF-VARIABLE primary, or node kill NAME, node start
// NAME. Requests are led around a node from the moment on that a variable
// holds it.
func (c *cloud) cmdNode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: node VARIABLE primary, node kill NAME, node start NAME")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if args[1] == "primary" {
		n, err := c.Primary(ctx)
		ts.Check(err)
		c.avoid.Store(n)
		ts.Setenv(args[0], n.Name)
		return
	}
	n := c.ByName(args[1])
	if n == nil {
		ts.Fatalf("there is no node %q", args[1])
	}
	switch args[0] {
	case "kill":
		ts.Check(n.Kill(ctx))
	case "start":
		ts.Check(n.Start(ctx))
		ts.Check(c.WaitHealthy(ctx))
		c.avoid.Store(nil)
	default:
		ts.Fatalf("node: unknown %q", args)
	}
}

// cmdSpread is spread APP COUNT: so many running instances of web are on so
// many nodes.
func (c *cloud) cmdSpread(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: spread APP-GUID COUNT")
	}
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ts.Check(c.WaitFor(ctx, "the instances to be spread", func() error {
		out, err := c.scriptCF(ctx, ts, []string{"curl", "/v3/apps/" + args[0] + "/processes/web/stats"})
		if err != nil {
			return errors.Join(err, errors.New(out))
		}
		nodes := map[string]bool{}
		for i := 0; ; i++ {
			host, err := pick(out, fmt.Sprintf(".resources.%d.host", i))
			if err != nil {
				break
			}
			nodes[host] = true
		}
		if len(nodes) != want {
			return fmt.Errorf("they are on %d nodes, not %d: %s", len(nodes), want, strings.TrimSpace(out))
		}
		return nil
	}))
}
