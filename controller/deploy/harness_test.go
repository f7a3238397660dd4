package deploy_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/deploy"
	"github.com/stackato/stackato/controller/deploy/deploytest"
	"github.com/stackato/stackato/controller/instances"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/jobs"
	"github.com/stackato/stackato/wire/instance"
)

// tester is what rapid.T and testing.T share.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

// world is a controller's surroundings: real rows, a scheduler in memory, and
// nodes that tell of instances.
type world struct {
	t     tester
	ctx   context.Context
	store *state.Store
	nomad *deploytest.Nomad
	nodes *nodes
	now   time.Time
	app   string
	web   string // process
	n     int    // for names of versions
}

func newWorld(ctx context.Context, t tester) *world {
	w := &world{t: t, ctx: ctx, store: state.NewMemory(), nomad: deploytest.New(), now: time.Unix(1e9, 0).UTC()}
	org := cf.Organization{Resource: w.resource(), Name: "acme"}
	w.must(w.store.CreateOrganization(ctx, org))
	w.must(w.store.CreateSpace(ctx, cf.Space{Resource: cf.Resource{GUID: "space"}, Name: "dev", OrgGUID: org.GUID}))
	w.nodes = &nodes{nomad: w.nomad, ready: map[string]bool{}, crashed: map[string]string{}, learned: true}
	return w
}

func (w *world) config() deploy.Config {
	return deploy.Config{
		State: func(term uint64) deploy.State { return w.store.AsTerm(term) }, Nomad: w.nomad, Instances: w.nodes,
		Image: func(string) string { return "stack:1" }, Zones: func() []string { return []string{"default", "silver"} },
		Log: slog.New(slog.DiscardHandler), Settle: time.Nanosecond, Now: func() time.Time { return w.now },
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%v", err)
	}
}

func (w *world) resource() cf.Resource {
	return cf.Resource{GUID: uuid.NewString(), CreatedAt: w.now, UpdatedAt: w.now}
}

// push makes an app with a droplet and n instances, stopped.
func (w *world) push(n int) {
	w.t.Helper()
	app := cf.App{Resource: w.resource(), Name: "shop", SpaceGUID: "space", State: cf.AppStopped, Stack: "stackato"}
	web := cf.Process{Resource: w.resource(), AppGUID: app.GUID, Type: cf.ProcessWeb, Instances: n}
	web.MemoryMB, web.DiskMB = 64, 128
	w.app, w.web = app.GUID, web.GUID
	w.must(w.store.CreateApp(w.ctx, state.AppCreation{App: app, Web: web}))
	w.droplet()
}

// droplet gives the app another droplet.
func (w *world) droplet() {
	w.t.Helper()
	d := cf.Droplet{
		Resource: w.resource(), AppGUID: w.app, State: cf.DropletStaged, Stack: "stackato",
		Blob: instance.Blob{Digest: uuid.NewString(), Size: 1}, ProcessTypes: map[string]string{"web": "run"},
	}
	w.must(w.store.CreateDroplet(w.ctx, d))
	_, err := w.store.AssignDroplet(w.ctx, state.DropletAssignment{AppGUID: w.app, DropletGUID: d.GUID, At: w.now})
	w.must(err)
}

func (w *world) version() string {
	w.n++
	return fmt.Sprintf("v%d", w.n)
}

func (w *world) start(restart bool) {
	w.t.Helper()
	_, err := w.store.StartApp(w.ctx, state.AppStart{
		GUID: w.app, Restart: restart, Version: w.version(), RevisionGUID: uuid.NewString(), At: w.now,
	})
	w.must(err)
}

func (w *world) stop() {
	w.t.Helper()
	_, err := w.store.StopApp(w.ctx, state.Target{GUID: w.app, At: w.now})
	w.must(err)
}

func (w *world) scale(n int) {
	w.t.Helper()
	_, err := w.store.UpdateProcess(w.ctx, state.ProcessUpdate{GUID: w.web, Instances: &n, Version: w.version(), At: w.now})
	w.must(err)
}

// roll begins a deployment and returns it.
func (w *world) roll(strategy string, inFlight int, steps ...int) cf.Deployment {
	w.t.Helper()
	d, err := w.store.CreateDeployment(w.ctx, state.DeploymentCreation{
		Deployment: cf.Deployment{
			Resource: w.resource(), AppGUID: w.app, Strategy: strategy, MaxInFlight: inFlight,
			CanarySteps: steps, NewVersion: w.version(),
		},
		RevisionGUID: uuid.NewString(),
	})
	w.must(err)
	return d
}

func (w *world) deployment(guid string) cf.Deployment {
	d, _ := w.store.Local().Deployment(guid)
	return d
}

func (w *world) process() cf.Process {
	p, _ := w.store.Local().Process(w.web)
	return p
}

// count is how many instances the job of a version asks for; -1: no job.
func (w *world) count(version string) int {
	n, ok := w.nomad.Counts()[jobs.AppID(w.web, version)]
	if !ok {
		return -1
	}
	return n
}

// serving counts the instances of the process that really are ready.
func (w *world) serving() int {
	n := 0
	for _, a := range w.nomad.All("") {
		if w.nodes.isReady(a) && !a.Ended() && !a.Stopping {
			n++
		}
	}
	return n
}

// nodes tell what the scheduler's allocations do. It is safe for concurrent
// use.
type nodes struct {
	nomad *deploytest.Nomad
	table *instances.Table // for subscriptions

	mu      sync.Mutex
	ready   map[string]bool
	crashed map[string]string // reason
	learned bool
	// late holds stopped allocations that are still told of as ready.
	late map[string]instance.Status
}

func (n *nodes) isReady(a deploy.Alloc) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ready[a.ID]
}

func (n *nodes) set(id string, ready bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ready[id] = ready
	delete(n.crashed, id)
}

func (n *nodes) crash(id, why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ready[id] = false
	n.crashed[id] = why
}

// allReady makes every instance ready that runs.
func (n *nodes) allReady() {
	for _, a := range n.nomad.All("") {
		if !a.Ended() {
			n.set(a.ID, true)
		}
	}
}

// OfProcess implements deploy.Instances. A stopped instance is told of as ready
// until forget.
func (n *nodes) OfProcess(process string) []instance.Status {
	all := n.nomad.All("")
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.late == nil {
		n.late = map[string]instance.Status{}
	}
	var out []instance.Status
	for _, a := range all {
		_, guid, version, _ := jobs.Parse(a.Job)
		s := instance.Status{AllocID: a.ID, ProcessGUID: guid, Version: version, Index: a.Index, State: instance.Starting, Node: a.Node}
		switch {
		case a.Ended():
			late, ok := n.late[a.ID]
			if !ok {
				continue
			}
			s = late
		case n.ready[a.ID]:
			s.State, s.Ready = instance.Running, true
			n.late[a.ID] = s
		case n.crashed[a.ID] != "":
			s.State, s.Reason = instance.Crashed, n.crashed[a.ID]
			delete(n.late, a.ID)
		default:
			delete(n.late, a.ID)
		}
		if guid == process {
			out = append(out, s)
		}
	}
	return out
}

// forget makes the nodes tell the truth about stopped instances.
func (n *nodes) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.late = nil
}

func (n *nodes) Learned() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.learned
}

func (*nodes) Stale(string) bool { return false }

func (n *nodes) Subscribe() *instances.Subscription {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.table == nil {
		n.table = instances.New(instances.Config{Nodes: nil})
	}
	return n.table.Subscribe()
}
