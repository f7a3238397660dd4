package instances_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stackato/stackato/controller/instances"
	"github.com/stackato/stackato/wire/instance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nodes is a cluster whose nodes say what the test makes them say.
type nodes struct {
	mu      sync.Mutex
	deas    []string
	changed chan struct{}
	say     map[string]chan instance.Report // closed: the stream breaks
}

func newNodes(ids ...string) *nodes {
	n := &nodes{deas: ids, changed: make(chan struct{}), say: map[string]chan instance.Report{}}
	for _, id := range ids {
		n.say[id] = make(chan instance.Report, 16)
	}
	return n
}

func (n *nodes) DEAs() ([]string, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.deas, n.changed
}

func (n *nodes) set(ids ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deas = ids
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *nodes) States(ctx context.Context, id string, report func(instance.Report)) error {
	n.mu.Lock()
	ch := n.say[id]
	n.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r, ok := <-ch:
			if !ok {
				return errors.New("the stream broke")
			}
			report(r)
		}
	}
}

func (n *nodes) Measure(_ context.Context, id, process string) ([]instance.Status, error) {
	if id == "b" {
		return nil, errors.New("away")
	}
	s := status("1", process, 0, true)
	s.Usage.MemBytes = 42
	return []instance.Status{s}, nil
}

func TestMeasure(t *testing.T) {
	n := newNodes("a", "b")
	table := run(t, instances.Config{Nodes: n})
	n.say["a"] <- instance.Report{Snapshot: true, Instances: []instance.Status{status("1", "p", 0, true)}}
	n.say["b"] <- instance.Report{Snapshot: true, Instances: []instance.Status{status("2", "p", 1, true)}}
	eventually(t, "both", func() bool { return len(table.OfProcess("p")) == 2 })
	got := table.Measure(t.Context(), "p")
	if len(got) != 2 || got[0].Usage.MemBytes != 42 || got[1].Usage.MemBytes != 0 {
		t.Errorf("got %+v", got)
	}
}

func run(t *testing.T, cfg instances.Config) *instances.Table {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	table := instances.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- table.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return table
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func status(alloc, process string, index int, ready bool) instance.Status {
	return instance.Status{
		AllocID: alloc, AppGUID: "app-" + process, ProcessGUID: process, Version: "1", Index: index,
		State: instance.Running, Ready: ready,
	}
}

func TestLearnsFromEveryNode(t *testing.T) {
	n := newNodes("a", "b")
	table := run(t, instances.Config{Nodes: n, LearnWithin: time.Hour})
	n.say["a"] <- instance.Report{Snapshot: true, Instances: []instance.Status{status("1", "p", 0, true)}}
	eventually(t, "the instance of a", func() bool { return len(table.OfProcess("p")) == 1 })
	if table.Learned() {
		t.Error("learned before node b has spoken")
	}
	n.say["b"] <- instance.Report{Snapshot: true, Instances: []instance.Status{status("2", "p", 1, false)}}
	eventually(t, "learned", table.Learned)
	if got := table.Ready("p", "1"); got != 1 {
		t.Errorf("%d ready, want 1", got)
	}
	n.say["b"] <- instance.Report{Instances: []instance.Status{status("2", "p", 1, true)}}
	eventually(t, "the second is ready", func() bool { return table.Ready("p", "1") == 2 })
	if got := table.Ready("p", "2"); got != 0 {
		t.Errorf("%d ready of another version", got)
	}
}

func TestLearnsWithinABound(t *testing.T) {
	table := run(t, instances.Config{Nodes: newNodes("silent"), LearnWithin: 10 * time.Millisecond})
	eventually(t, "learned without the silent node", table.Learned)
}

func TestSnapshotReplacesAndGoneForgets(t *testing.T) {
	n := newNodes("a")
	table := run(t, instances.Config{Nodes: n})
	sub := table.Subscribe()
	defer sub.Close()
	n.say["a"] <- instance.Report{Snapshot: true, Instances: []instance.Status{status("1", "p", 0, true), status("2", "q", 0, true)}}
	eventually(t, "both", func() bool { return len(table.All()) == 2 })
	n.say["a"] <- instance.Report{Snapshot: true, Instances: []instance.Status{status("2", "q", 0, true)}}
	eventually(t, "what the snapshot lacks is forgotten", func() bool { return len(table.OfApp("app-p")) == 0 })
	n.say["a"] <- instance.Report{Instances: []instance.Status{{AllocID: "2", State: instance.Gone}}}
	eventually(t, "gone", func() bool { return len(table.All()) == 0 })
	<-sub.Wake()
	if got := sub.Take(); len(got) != 2 {
		t.Errorf("told of %v, want both apps", got)
	}
}

// A node cannot say anything about another one's instances.
func TestNodesSpeakForThemselves(t *testing.T) {
	n := newNodes("a", "b")
	table := run(t, instances.Config{Nodes: n})
	n.say["a"] <- instance.Report{Snapshot: true, Instances: []instance.Status{status("1", "p", 0, true)}}
	eventually(t, "learned of a", func() bool { return len(table.All()) == 1 })
	lie := status("1", "p", 0, false)
	lie.Node = "a"
	n.say["b"] <- instance.Report{Snapshot: true, Instances: []instance.Status{lie, status("2", "p", 1, true)}}
	eventually(t, "b is heard", func() bool { return table.Ready("p", "1") == 2 })
}

func TestLostAndRemovedNodes(t *testing.T) {
	n := newNodes("a", "b")
	table := run(t, instances.Config{Nodes: n, StaleAfter: time.Nanosecond})
	n.say["a"] <- instance.Report{Snapshot: true, Instances: []instance.Status{status("1", "p", 0, true)}}
	n.say["b"] <- instance.Report{Snapshot: true, Instances: []instance.Status{status("2", "p", 1, true)}}
	eventually(t, "both ready", func() bool { return table.Ready("p", "1") == 2 })
	close(n.say["a"])
	eventually(t, "a lost node's do not count as ready", func() bool { return table.Ready("p", "1") == 1 })
	if len(table.OfProcess("p")) != 2 {
		t.Error("instances of a lost node are forgotten: their routes would go")
	}
	n.set("b")
	eventually(t, "a removed node's are forgotten", func() bool { return len(table.OfProcess("p")) == 1 })
}
