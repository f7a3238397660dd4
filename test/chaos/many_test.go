package chaos

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stackato/stackato/test/cluster"
)

// Environment of the long test.
const (
	envLong = "STACKATO_TEST_LONG"     // 1: run it
	envLog  = "STACKATO_TEST_LONG_LOG" // file for its log; none if unset
	envSeed = "STACKATO_TEST_SEED"     // repeats a run's choices
)

// manyRounds is how many times the long test disturbs the cluster.
const manyRounds = 30

// TestManyKills kills, pauses and cuts off one or two of five controllers,
// again and again at random, while clients work on all of them. After each
// round every node must take writes again.
func TestManyKills(t *testing.T) {
	long(t)
	seed := rand.Uint64()
	if s := os.Getenv(envSeed); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		must(t, err)
	}
	ctx := bounded(t, 20*time.Minute)
	c := formed(ctx, t, cluster.Options{Nodes: 5, Roles: cluster.EveryController, NoDocker: true})
	waitAgreement(ctx, t, c, 5, 5, c.Nodes()...)
	say := logTo(t)
	say("five controllers, five voters, five clients; %d disturbances, seed %d", manyRounds, seed)
	l := startLoad(t, fixed(c.Nodes()...)...)

	d := disturber{c: c, rnd: rand.New(rand.NewPCG(seed, 1))}
	for round := range manyRounds {
		what, repair := d.disturb(ctx, t)
		began := time.Now()
		rest := without(c.Nodes(), d.victims...)
		must(t, l.progress(ctx, c, 1, rest...))
		others := time.Since(began)
		must(t, l.progress(ctx, c, 3, rest...))
		must(t, repair())
		began = time.Now()
		must(t, l.progress(ctx, c, 1, c.Nodes()...))
		say("%2d  %-28s others write through each after %5d ms, all after the repair within %5d ms",
			round+1, what, others.Milliseconds(), time.Since(began).Milliseconds())
	}
	l.finish(ctx, t, c)
	say("%d operations, %d of unknown outcome: linearizable: %v", len(l.ops), l.unknown, !t.Failed())
	began := time.Now()
	waitAgreement(ctx, t, c, 5, 5, c.Nodes()...)
	say("nodes table, gossip, Consul and Nomad agree %d ms later", time.Since(began).Milliseconds())
}

// logTo returns what writes to the test's log and to the file of envLog.
func logTo(t *testing.T) func(format string, args ...any) {
	t.Helper()
	w := io.Discard
	if path := os.Getenv(envLog); path != "" {
		f, err := os.Create(path)
		must(t, err)
		t.Cleanup(func() { must(t, f.Close()) })
		w = f
	}
	return func(format string, args ...any) {
		t.Helper()
		t.Logf(format, args...)
		if _, err := fmt.Fprintf(w, format+"\n", args...); err != nil {
			t.Error(err)
		}
	}
}

// disturber chooses what happens to which nodes.
type disturber struct {
	c       *cluster.Cluster
	rnd     *rand.Rand
	victims []*cluster.Node // of the last disturbance, a minority
}

// disturb does one thing to a minority of the nodes, every other time with
// the Primary among them. repair ends it.
func (d *disturber) disturb(ctx context.Context, t *testing.T) (what string, repair func() error) {
	t.Helper()
	nodes := d.c.Nodes()
	d.rnd.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	if d.rnd.IntN(2) == 0 {
		primary, err := primaryAmong(ctx, d.c, nodes)
		must(t, err)
		nodes = append([]*cluster.Node{primary}, without(nodes, primary)...)
	}
	d.victims = nodes[:1+d.rnd.IntN(2)]
	each := func(f func(*cluster.Node) error) func() error {
		return func() error {
			for _, n := range d.victims {
				if err := f(n); err != nil {
					return err
				}
			}
			return nil
		}
	}
	type action struct {
		name     string
		do, undo func() error
	}
	kill := func(n *cluster.Node) error { return n.Kill(ctx) }
	start := func(n *cluster.Node) error { return n.Start(ctx) }
	pause := func(n *cluster.Node) error { return n.Pause(ctx) }
	unpause := func(n *cluster.Node) error { return n.Unpause(ctx) }
	killAgent := func(n *cluster.Node) error { return n.KillAgent(ctx) }
	startAgent := func(n *cluster.Node) error { return n.StartAgent(ctx) }
	actions := []action{
		{"power loss", each(kill), each(start)},
		{"pause", each(pause), each(unpause)},
		{"agent killed", each(killAgent), each(startAgent)},
		{
			"cut off",
			func() error { return d.c.Partition(ctx, d.victims, without(d.c.Nodes(), d.victims...)) },
			func() error { return d.c.Heal(ctx) },
		},
	}
	a := actions[d.rnd.IntN(len(actions))]
	must(t, a.do())
	return a.name + " of " + names(d.victims), a.undo
}
