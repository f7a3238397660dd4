package chaos

import (
	"sync"
	"testing"
	"time"

	"github.com/stackato/stackato/test/cluster"
)

// TestPausedPrimary freezes the Primary while clients write through every
// node, and has writes and reads wait at its door: they reach it in the very
// moment when it wakes and still takes itself for the Primary. What it then
// answers must be true.
func TestPausedPrimary(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 3, Roles: cluster.EveryController, NoDocker: true, AgentEnv: agentAlone})
	ctx := bounded(t, 80*time.Second)
	must(t, c.Form(ctx))
	l := startLoad(t, fixed(c.Nodes()...)...)
	must(t, l.progress(ctx, c, 3, c.Nodes()...))

	for round := range 3 {
		old, err := c.Primary(ctx)
		must(t, err)
		rest := without(c.Nodes(), old)
		must(t, old.Pause(ctx))
		began := time.Now()
		next, err := primaryAmong(ctx, c, rest)
		must(t, err)
		t.Logf("round %d: %s was paused, %s leads after %s", round, old.Name, next.Name, time.Since(began).Round(time.Millisecond))
		must(t, l.progress(ctx, c, 5, rest...))

		woken, ask := wakeCalls(t, l, old)
		must(t, old.Unpause(ctx))
		woken()
		ask() // once more, now that it is awake but may not know yet
		if _, err := primaryAmong(ctx, c, c.Nodes()); err != nil {
			t.Fatal(err)
		}
		must(t, l.progress(ctx, c, 2, c.Nodes()...))
	}
	l.finish(ctx, t, c)
}

// wakeCalls lays calls before a paused node: the kernel takes them, the agent
// will when it wakes. wait returns when all have an answer; again makes as
// many new ones and waits for them.
func wakeCalls(t *testing.T, l *load, n *cluster.Node) (wait, again func()) {
	t.Helper()
	var wg sync.WaitGroup
	start := func() {
		for i, kind := range []string{"read", "write", "read", "write", "read", "write"} {
			sent := make(chan struct{})
			wg.Go(func() {
				in := op{kind: kind, key: keys[i%len(keys)], value: values.Add(1)}
				close(sent)
				_, err := l.call(t.Context(), newClientNumber(), n, in)
				t.Logf("%s through the woken %s: %v", kind, n.Name, outcome(err))
			})
			<-sent
		}
	}
	start()
	return wg.Wait, func() { start(); wg.Wait() }
}

func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	return err.Error()
}
