package health_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/health"
	"github.com/stackato/stackato/controller/instances"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/instance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is a table of instances that follows one node, and real rows.
type cluster struct {
	instances.Nodes // what is not asked here

	t       *testing.T
	store   *state.Store
	table   *instances.Table
	reports chan instance.Report
	app     string
	web     cf.Process
}

func (c *cluster) DEAs() ([]string, <-chan struct{}) { return []string{"n1"}, nil }

func (c *cluster) States(ctx context.Context, _ string, report func(instance.Report)) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r := <-c.reports:
			report(r)
		}
	}
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, store: state.NewMemory(), reports: make(chan instance.Report)}
	c.table = instances.New(instances.Config{Nodes: c, LearnWithin: time.Hour, Logger: slog.New(slog.DiscardHandler)})
	now := time.Now()
	res := func() cf.Resource { return cf.Resource{GUID: uuid.NewString(), CreatedAt: now, UpdatedAt: now} }
	org := cf.Organization{Resource: res(), Name: "acme"}
	c.must(c.store.CreateOrganization(t.Context(), org))
	c.must(c.store.CreateSpace(t.Context(), cf.Space{Resource: cf.Resource{GUID: "space"}, Name: "dev", OrgGUID: org.GUID}))
	app := cf.App{Resource: res(), Name: "shop", SpaceGUID: "space", State: cf.AppStopped}
	c.app = app.GUID
	c.web = cf.Process{Resource: res(), AppGUID: app.GUID, Type: cf.ProcessWeb, Instances: 3}
	c.must(c.store.CreateApp(t.Context(), state.AppCreation{App: app, Web: c.web}))
	d := cf.Droplet{Resource: res(), AppGUID: app.GUID, State: cf.DropletStaged, ProcessTypes: map[string]string{"web": "x"}}
	c.must(c.store.CreateDroplet(t.Context(), d))
	_, err := c.store.AssignDroplet(t.Context(), state.DropletAssignment{AppGUID: app.GUID, DropletGUID: d.GUID, At: now})
	c.must(err)
	_, err = c.store.StartApp(t.Context(), state.AppStart{GUID: app.GUID, Version: "v1", RevisionGUID: uuid.NewString(), At: now})
	c.must(err)
	return c
}

func (c *cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// status is one of the app's instances.
func (c *cluster) status(index int, st instance.State) instance.Status {
	return instance.Status{
		AllocID: fmt.Sprintf("alloc-%d", index), Node: "n1", AppGUID: c.app, ProcessGUID: c.web.GUID, ProcessType: "web",
		Version: "v1", Index: index, State: st, Since: time.Now(),
	}
}

func (c *cluster) report(snapshot bool, all ...instance.Status) {
	c.reports <- instance.Report{Snapshot: snapshot, Instances: all}
}

func background(t *testing.T, f func(context.Context) error) func() {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// fixed is what nodes say.
type fixed []instance.Status

func (f fixed) All() []instance.Status { return f }

func (f fixed) OfProcess(process string) []instance.Status {
	var out []instance.Status
	for _, s := range f {
		if s.ProcessGUID == process {
			out = append(out, s)
		}
	}
	return out
}

func (fixed) Stale(node string) bool { return node == "away" }

func TestCompare(t *testing.T) {
	c := newCluster(t)
	at := func(i int, st instance.State, change func(*instance.Status)) instance.Status {
		s := c.status(i, st)
		s.Since = time.Time{}
		if change != nil {
			change(&s)
		}
		return s
	}
	running := fixed{at(0, instance.Running, nil), at(1, instance.Running, nil), at(2, instance.Running, nil)}
	old := at(0, instance.Running, func(s *instance.Status) { s.Version, s.AllocID = "v0", "old" })
	stray := instance.Status{AllocID: "s", ProcessGUID: "none", Version: "v1", State: instance.Running}
	for name, c2 := range map[string]struct {
		in      fixed
		missing []health.Missing
		extra   []string
	}{
		"all well":            {in: running},
		"one on its way out":  {in: append(fixed{at(0, instance.Stopping, func(s *instance.Status) { s.Version = "v0" })}, running...)},
		"another version":     {in: append(fixed{old}, running...), extra: []string{"old"}},
		"one too many":        {in: append(fixed{at(3, instance.Running, nil)}, running...), extra: []string{"alloc-3"}},
		"of no process":       {in: append(fixed{stray}, running...), extra: []string{"s"}},
		"a task or build":     {in: append(fixed{{AllocID: "t", ProcessGUID: "none", State: instance.Running}}, running...)},
		"two of one index":    {in: append(fixed{at(0, instance.Crashed, nil)}, running...)},
		"crashed and healthy": {in: append(append(fixed{}, running...), at(0, instance.Crashed, nil))},
		"not there": {running[:2], []health.Missing{
			{Index: 2, State: instance.Down, Reason: "No DEA has enough room."},
		}, nil},
		"reasons": {fixed{
			at(0, instance.Starting, nil),
			at(1, instance.Crashed, func(s *instance.Status) { s.ExitCode = 3 }),
			at(2, instance.Running, func(s *instance.Status) { s.Node = "away" }),
		}, []health.Missing{
			{Index: 0, State: instance.Starting, Reason: "It is starting and not healthy yet."},
			{Index: 1, State: instance.Crashed, Reason: "It exited with status 3."},
			{Index: 2, State: instance.Running, Reason: "Node away is not heard of."},
		}, nil},
		"more reasons": {fixed{
			at(0, instance.Crashed, func(s *instance.Status) { s.OOM = true }),
			at(1, instance.Crashed, func(s *instance.Status) { s.Reason = "Health check failed." }),
			at(2, instance.Running, nil),
		}, []health.Missing{
			{Index: 0, State: instance.Crashed, Reason: "It used more memory than it may."},
			{Index: 1, State: instance.Crashed, Reason: "Health check failed."},
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var missing []health.Missing
			var extra []string
			for _, d := range health.Compare(c.store.Local(), c2.in, func(string, string) string { return "No DEA has enough room." }) {
				missing = append(missing, d.Missing...)
				for _, s := range d.Extra {
					extra = append(extra, s.AllocID)
				}
			}
			if diff := cmp.Diff(c2.missing, missing); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c2.extra, extra); diff != "" {
				t.Errorf("extra (-want +got):\n%s", diff)
			}
		})
	}
}

func (c *cluster) manager(resync func()) *health.Manager {
	m := health.New(health.Config{
		State: func(term uint64) health.State { return c.store.AsTerm(term) }, Instances: c.table, Resync: resync,
		Unplaced: func(context.Context, string) (string, error) { return "No DEA has enough room.", nil },
		Every:    time.Millisecond, Patience: 20 * time.Millisecond,
	})
	c.table.OnChange(m.Observe)
	return m
}

func (c *cluster) crashes() []cf.AuditEvent {
	var out []cf.AuditEvent
	for _, e := range c.store.Local().AuditEvents() {
		if e.Type == health.EventCrash {
			out = append(out, e)
		}
	}
	return out
}

func TestCrashesBecomeEventsOnce(t *testing.T) {
	c := newCluster(t)
	m := c.manager(func() {})
	background(t, c.table.Run)
	stop := background(t, func(ctx context.Context) error { return m.Run(ctx, 1) })
	running, crashed := c.status(0, instance.Running), c.status(0, instance.Crashed)
	crashed.ExitCode, crashed.Crashes = 3, 1
	c.report(true, running, c.status(1, instance.Running), c.status(2, instance.Running))
	await(t, "a first look", func() bool { return c.table.Learned() })
	c.report(false, crashed)
	await(t, "the event", func() bool { return len(c.crashes()) == 1 })
	e := c.crashes()[0]
	var data map[string]any
	c.must(json.Unmarshal(e.Data, &data))
	if e.Target.GUID != c.app || e.Actor.Name != "shop" || e.SpaceGUID != "space" || e.OrgGUID == "" ||
		data["exit_description"] != "It exited with status 3." || data["index"] != 0.0 || data["reason"] != "CRASHED" {
		t.Errorf("event %+v, data %v", e, data)
	}

	// Held back, in a new container; and told once more by a new stream.
	held := crashed
	held.Started, held.Since, held.Reason = time.Now(), time.Now(), "crashed too often, waits"
	c.report(false, held)
	c.report(true, held, c.status(1, instance.Running), c.status(2, instance.Running))
	// Another Primary finds it.
	stop()
	stop = background(t, func(ctx context.Context) error { return m.Run(ctx, 2) })
	// It starts again and crashes again.
	again := c.status(0, instance.Starting)
	again.Crashes = 1
	twice := crashed
	twice.Crashes, twice.Since = 2, time.Now()
	c.report(false, again)
	c.report(false, twice)
	await(t, "the second event", func() bool { return len(c.crashes()) >= 2 })

	// One that happens while there is no Primary is found by the next.
	stop()
	late := c.status(1, instance.Crashed)
	late.Crashes = 1
	c.report(false, late)
	c.report(false, c.status(2, instance.Running)) // late has been taken in
	background(t, func(ctx context.Context) error { return m.Run(ctx, 3) })
	await(t, "the third event", func() bool { return len(c.crashes()) >= 3 })
	if n := len(c.crashes()); n != 3 {
		t.Errorf("%d events, want 3: %+v", n, c.crashes())
	}
}

func TestRepair(t *testing.T) {
	c := newCluster(t)
	resync := make(chan struct{}, 100)
	m := c.manager(func() { resync <- struct{}{} })
	background(t, c.table.Run)
	background(t, func(ctx context.Context) error { return m.Run(ctx, 1) })
	select {
	case <-resync:
		t.Fatal("repaired before it was learned what runs")
	case <-time.After(60 * time.Millisecond): // three times its patience
	}
	if d, compared := m.Differences(); compared || len(d) > 0 {
		t.Fatalf("compared before it was learned what runs: %+v", d)
	}
	all := []instance.Status{c.status(0, instance.Running), c.status(1, instance.Running), c.status(2, instance.Running)}
	c.report(true, all[0], all[1])
	<-resync
	await(t, "the reason", func() bool {
		d, _ := m.Differences()
		return len(d) == 1 && d[0].Running == 2 && len(d[0].Missing) == 1 && d[0].Missing[0].Reason == "No DEA has enough room."
	})
	c.report(true, all...)
	await(t, "nothing to repair", func() bool {
		d, compared := m.Differences()
		return compared && len(d) == 0
	})
}

func TestReasons(t *testing.T) {
	at := time.Date(2025, 5, 6, 7, 8, 9, 0, time.UTC)
	d := health.Difference{Extra: make([]instance.Status, 2)}
	for i := range 7 {
		d.Missing = append(d.Missing, health.Missing{Index: i, Reason: "No DEA has enough room."})
	}
	d.Missing = append(d.Missing, health.Missing{Index: 7, Reason: "It exited with status 1.", Retry: at})
	want := []string{
		"#0 #1 #2 #3 #4 and 2 more: No DEA has enough room.",
		"#7: It exited with status 1, and is started again at 07:08:09 UTC.",
		"2 run that nobody asks for, or of another version; they are being stopped.",
	}
	if diff := cmp.Diff(want, d.Reasons(3)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{want[0], "2 more reasons."}, d.Reasons(2)); diff != "" {
		t.Error(diff)
	}
}
