package instances_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/controller/instances"
	"github.com/stackato/stackato/jobs"
	"github.com/stackato/stackato/wire/instance"
)

// scheduler has placed what the test says.
type scheduler struct {
	mu     sync.Mutex
	placed map[string]instance.Placement
	away   bool
	asked  int // allocations
}

func (s *scheduler) Placed(_ context.Context, ids []string) (map[string]instance.Placement, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, errors.New("no leader")
	}
	s.asked += len(ids)
	out := map[string]instance.Placement{}
	for _, id := range ids {
		if p, ok := s.placed[id]; ok {
			out[id] = p
		}
	}
	return out, nil
}

func (s *scheduler) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// placed says where instances of status() are.
func placed(node, process string, index int) instance.Placement {
	return instance.Placement{Node: node, Job: jobs.AppID(process, "1"), Index: index}
}

// owner knows the processes of status().
func owner(process, version string) (app, kind string, ok bool) {
	return "app-" + process, "", process != "unknown"
}

// checked runs a table that believes nobody, in a bubble.
func checked(t *testing.T, n *nodes, s *scheduler, own instances.Owner, f func(*instances.Table)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		for id := range n.say { // made in the bubble
			n.say[id] = make(chan instance.Report, 16)
		}
		n.changed = make(chan struct{})
		table := run(t, instances.Config{Nodes: n, Placements: s, Owner: own, LearnWithin: time.Hour})
		f(table)
	})
}

func ready(table *instances.Table) map[string]string {
	out := map[string]string{}
	for _, s := range table.All() {
		out[s.AllocID] = s.Node
	}
	return out
}

// A compromised node reports what it may not have.
func TestLyingNode(t *testing.T) {
	n, s := newNodes("good", "evil"), &scheduler{placed: map[string]instance.Placement{
		"p0": placed("good", "p", 0), "q0": placed("evil", "q", 0), "q1": placed("evil", "q", 1),
		"q2": placed("evil", "q", 2), "q3": placed("evil", "q", 3),
	}}
	checked(t, n, s, owner, func(table *instances.Table) {
		otherApp, otherVersion, otherType := status("q1", "q", 1, true), status("q2", "q", 2, true), status("q3", "q", 3, true)
		otherApp.AppGUID, otherVersion.Version, otherType.ProcessType = "app-p", "2", "web"
		asTask := status("p1", "p", 0, true)
		asTask.Version = ""
		n.say["evil"] <- instance.Report{Snapshot: true, Instances: []instance.Status{
			status("p0", "p", 0, true), // of another node, and heard of first
			status("p9", "p", 1, true), // made up
			status("q0", "p", 2, true), // its own, but not of that process
			otherApp, otherVersion, otherType, asTask,
		}}
		synctest.Wait()
		n.say["good"] <- instance.Report{Snapshot: true, Instances: []instance.Status{status("p0", "p", 0, true)}}
		synctest.Wait()
		if diff := cmp.Diff(map[string]string{"p0": "good"}, ready(table)); diff != "" {
			t.Errorf("instances that count (-want +got):\n%s", diff)
		}
		if !table.Learned() {
			t.Error("lies keep the controller from learning")
		}
		// Its own are still heard, and lose what they had when they turn into others.
		n.say["evil"] <- instance.Report{Instances: []instance.Status{status("q0", "q", 0, true)}}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if table.Ready("q", "1") != 1 {
			t.Error("an honest report of a node that has lied does not count")
		}
		n.say["evil"] <- instance.Report{Instances: []instance.Status{status("q0", "p", 2, true)}}
		synctest.Wait()
		if diff := cmp.Diff(map[string]string{"p0": "good"}, ready(table)); diff != "" {
			t.Errorf("after it has changed its story (-want +got):\n%s", diff)
		}
	})
}

// Lies cost the scheduler little, however many there are.
func TestLiesAreBounded(t *testing.T) {
	n, s := newNodes("good", "evil"), &scheduler{placed: map[string]instance.Placement{"p0": placed("good", "p", 0)}}
	checked(t, n, s, owner, func(table *instances.Table) {
		r := instance.Report{Snapshot: true}
		for i := range 20_000 {
			r.Instances = append(r.Instances, status("lie-"+time.Duration(i).String(), "p", i, true))
		}
		n.say["evil"] <- r
		synctest.Wait()
		time.Sleep(10 * time.Second)
		s.set(func() {
			if s.asked > 500 {
				t.Errorf("asked about %d allocations in 10 s", s.asked)
			}
		})
		n.say["good"] <- instance.Report{Snapshot: true, Instances: []instance.Status{status("p0", "p", 0, true)}}
		synctest.Wait()
		if !maps.Equal(ready(table), map[string]string{"p0": "good"}) {
			t.Errorf("got %v", ready(table))
		}
	})
}

// While the scheduler is away what is known stays, nothing new is admitted,
// and a controller that has just started shows nobody that there is nothing.
func TestSchedulerAway(t *testing.T) {
	n, s := newNodes("a"), &scheduler{away: true, placed: map[string]instance.Placement{"p0": placed("a", "p", 0), "p1": placed("a", "p", 1)}}
	checked(t, n, s, owner, func(table *instances.Table) {
		n.say["a"] <- instance.Report{Snapshot: true, Instances: []instance.Status{status("p0", "p", 0, true)}}
		time.Sleep(2 * time.Hour) // longer than LearnWithin
		synctest.Wait()
		if table.Learned() || len(table.All()) > 0 {
			t.Fatalf("learned %v, instances %v; want neither", table.Learned(), ready(table))
		}
		s.set(func() { s.away = false })
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if !table.Learned() || table.Ready("p", "1") != 1 {
			t.Fatal("the instance is not admitted when the scheduler is back")
		}
		s.set(func() { s.away = true })
		n.say["a"] <- instance.Report{Instances: []instance.Status{status("p0", "p", 0, false), status("p1", "p", 1, true)}}
		synctest.Wait()
		if got := table.OfProcess("p"); len(got) != 1 || got[0].Ready {
			t.Errorf("got %+v; want the known one, with its new state", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(table.All()) != 1 {
			t.Error("a known instance went because the scheduler does not answer")
		}
	})
}

// The row of a version may reach this controller after the first report.
func TestRowsComeLate(t *testing.T) {
	var mu sync.Mutex
	known := false
	n, s := newNodes("a"), &scheduler{placed: map[string]instance.Placement{"p0": placed("a", "p", 0)}}
	own := func(process, version string) (string, string, bool) {
		mu.Lock()
		defer mu.Unlock()
		return "app-" + process, "", known
	}
	checked(t, n, s, own, func(table *instances.Table) {
		n.say["a"] <- instance.Report{Snapshot: true, Instances: []instance.Status{status("p0", "p", 0, true)}}
		synctest.Wait()
		if table.Learned() || len(table.All()) > 0 {
			t.Error("an instance counts that nobody knows whose it is")
		}
		mu.Lock()
		known = true
		mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
		if !table.Learned() || table.Ready("p", "1") != 1 {
			t.Error("the instance is not admitted when its row has come")
		}
	})
}

// A node must not keep the requests of an app whose instance was to end; a
// task is no instance of an app.
func TestWhatWasToEnd(t *testing.T) {
	n, s := newNodes("a"), &scheduler{placed: map[string]instance.Placement{
		"p0": placed("a", "p", 0), "p1": placed("a", "p", 1), "t": {Node: "a", Job: jobs.TaskID("t")},
	}}
	checked(t, n, s, owner, func(table *instances.Table) {
		task := status("t", "t", 0, false)
		task.Version, task.ProcessType = "", "migrate"
		n.say["a"] <- instance.Report{Snapshot: true, Instances: []instance.Status{status("p0", "p", 0, true), status("p1", "p", 1, true), task}}
		synctest.Wait()
		if len(table.All()) != 3 {
			t.Fatalf("got %v", ready(table))
		}
		s.set(func() {
			p := s.placed["p0"]
			p.Stopping = true
			s.placed["p0"] = p
		})
		time.Sleep(30 * time.Second)
		if len(table.All()) != 3 {
			t.Error("an instance went before it could end")
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if diff := cmp.Diff(map[string]string{"p1": "a", "t": "a"}, ready(table)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		n.say["a"] <- instance.Report{Instances: []instance.Status{status("p0", "p", 0, true)}}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(table.All()) != 2 {
			t.Error("it is back when its node says so again")
		}
	})
}
