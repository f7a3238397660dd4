package cluster

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"
)

// Environment of tests that start nodes.
const (
	EnvDocker = "STACKATO_TEST_DOCKER" // 1: run them; else they are skipped
	EnvRun    = "STACKATO_TEST_RUN"    // label of all they make; random if unset
	EnvKeep   = "STACKATO_TEST_KEEP"   // 1: a failed test keeps its nodes for a look
)

var runID = sync.OnceValue(func() string {
	if id := os.Getenv(EnvRun); id != "" {
		return id
	}
	return randomHex()
})

// Labels returns the arguments of docker that mark what a test makes by itself
// as its own, so that it is removed when the test is killed.
func Labels() []string {
	return []string{"--label", labelTest + "=" + runID(), "--label", labelOwner + "=" + ownerSelf()}
}

// sweepOnce removes what killed test runs have left, once in a process.
var sweepOnce = sync.OnceValues(func() (int, error) { return Sweep(context.Background(), "") })

// Require skips the test where nodes cannot or shall not run.
func Require(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts nodes as containers: not in -short")
	}
	if os.Getenv(EnvDocker) != "1" {
		t.Skipf("starts nodes as containers: set %s=1 (needs root and Docker)", EnvDocker)
	}
}

// New starts the machines of a cluster for a test and removes them with all
// their data when the test ends. It skips the test unless
// STACKATO_TEST_DOCKER=1, and under -short. When the test has failed, the end
// of every node's agent log goes to the test's log.
//
// The agents run unconfigured: call [Cluster.Form], or Init and Join.
func New(t testing.TB, o Options) *Cluster {
	t.Helper()
	Require(t)
	if o.Logf == nil {
		o.Logf = t.Logf
	}
	if n, err := sweepOnce(); err != nil {
		t.Fatal(err)
	} else if n > 0 {
		t.Logf("removed %d containers, networks and volumes that a killed test run had left", n)
	}
	o.run = runID()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // the image may have to be built
	defer cancel()
	c, err := create(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.finish(t) })
	return c
}

// finish ends a test's cluster.
func (c *Cluster) finish(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), defaultTimeout)
	defer cancel()
	if t.Failed() {
		for _, n := range c.Nodes() {
			t.Logf("end of the agent's log on %s:\n%s", n.Name, n.AgentLog(40))
		}
		if os.Getenv(EnvKeep) == "1" {
			t.Logf("%s is kept until the next run; remove it with: go run ./test/cluster/cmd/cluster sweep --run %s",
				c.Name, c.opts.run)
			return
		}
	}
	if err := c.Remove(ctx); err != nil {
		t.Error(err)
	}
}
