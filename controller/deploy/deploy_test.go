package deploy_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/deploy"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/jobs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// primary is a world with a Primary that does a pass when told to.
type primary struct {
	*world
	*deploy.Steps
	tt *testing.T
}

func newPrimary(t *testing.T, change func(*deploy.Config)) *primary {
	t.Helper()
	w := newWorld(t.Context(), t)
	cfg := w.config()
	if change != nil {
		change(&cfg)
	}
	s, err := deploy.NewSteps(t.Context(), cfg, 1)
	w.must(err)
	return &primary{w, s, t}
}

// pass does n passes, the lists renewed before each.
func (p *primary) pass(n int) {
	p.tt.Helper()
	for range n {
		p.now = p.now.Add(time.Second)
		p.must(p.List(p.ctx))
		p.must(p.Pass(p.ctx))
	}
}

func (p *primary) wantCounts(when string, want map[string]int) {
	p.tt.Helper()
	got := map[string]int{}
	for id, n := range p.nomad.Counts() {
		_, guid, version, _ := jobs.Parse(id)
		if guid != p.web {
			version = id
		}
		got[version] = n
	}
	if diff := cmp.Diff(want, got); diff != "" {
		p.tt.Errorf("%s: counts by version (-want +got):\n%s", when, diff)
	}
}

func TestStartScaleStop(t *testing.T) {
	p := newPrimary(t, nil)
	p.push(2)
	p.pass(1)
	p.wantCounts("not started", map[string]int{})
	p.start(false)
	p.pass(1)
	p.wantCounts("started", map[string]int{"v1": 2})
	first := p.nomad.All("")
	p.scale(5)
	p.pass(1)
	p.wantCounts("scaled up", map[string]int{"v1": 5})
	if got := p.nomad.All(""); got[0].ID != first[0].ID || got[1].ID != first[1].ID {
		t.Error("scaling replaced instances")
	}
	p.scale(0)
	p.pass(1)
	p.wantCounts("scaled to nothing", map[string]int{})
	p.scale(1)
	p.pass(1)
	p.wantCounts("scaled up again", map[string]int{"v1": 1})
	p.start(true)
	p.pass(1)
	p.wantCounts("restarted", map[string]int{"v5": 1})
	p.stop()
	p.pass(2)
	p.wantCounts("stopped", map[string]int{})
	var versions []string
	for _, v := range p.store.Local().ProcessVersions() {
		versions = append(versions, v.Version)
	}
	if diff := cmp.Diff([]string{"v5"}, versions); diff != "" {
		t.Errorf("versions that are kept (-want +got):\n%s", diff)
	}
	p.start(false)
	p.pass(1)
	p.must(p.store.DeleteApp(t.Context(), state.Target{GUID: p.app, At: p.now}))
	p.pass(1)
	p.wantCounts("deleted", map[string]int{})
}

func TestJobSaysWhereAndHowBig(t *testing.T) {
	p := newPrimary(t, func(c *deploy.Config) { c.StackMeta = true })
	p.push(1)
	zone := "gold"
	_, err := p.store.UpdateApp(t.Context(), state.AppUpdate{GUID: p.app, PlacementZone: &zone, At: p.now})
	p.must(err)
	p.start(false)
	p.pass(1)
	want := jobs.App(jobs.Process{
		App: p.app, GUID: p.web, Type: "web", Version: "v1", Instances: 1, Size: jobs.Size{MemoryMB: 64, DiskMB: 128},
		Image: "stack:1", Placement: jobs.Placement{Zone: "gold", Stack: "stack:1"},
	})
	if diff := cmp.Diff(want, p.nomad.Spec(jobs.AppID(p.web, "v1"))); diff != "" {
		t.Errorf("job (-want +got):\n%s", diff)
	}
}

// Whatever was done to the jobs behind its back is undone.
func TestLostAndUnknownJobs(t *testing.T) {
	p := newPrimary(t, nil)
	p.push(2)
	p.start(false)
	p.pass(1)
	stray := jobs.App(jobs.Process{GUID: uuid.NewString(), Version: "v9", Instances: 3})
	_, err := p.nomad.Register(t.Context(), stray, 0)
	p.must(err)
	foreign := jobs.App(jobs.Process{GUID: uuid.NewString(), Version: "v9"})
	*foreign.ID = "redis"
	_, err = p.nomad.Register(t.Context(), foreign, 0)
	p.must(err)
	p.nomad.Lose(jobs.AppID(p.web, "v1"))
	p.pass(1)
	p.wantCounts("repaired", map[string]int{"v1": 2, "redis": 0})
}

func TestRefusedByNomad(t *testing.T) {
	p := newPrimary(t, nil)
	refused := 0
	p.nomad.Fail = func(call, _ string) error {
		if call == "register" {
			refused++
			return fmt.Errorf("not now")
		}
		return nil
	}
	p.push(1)
	p.start(false)
	for range 10 { // within the first wait: one attempt
		p.must(p.Pass(p.ctx))
	}
	if refused != 1 {
		t.Errorf("tried %d times at once, want 1", refused)
	}
	p.nomad.Fail = nil
	p.now = p.now.Add(2 * time.Second)
	p.pass(1)
	p.wantCounts("tried again", map[string]int{"v1": 1})
}

// A job could never be given an image later.
func TestNoJobWithoutAnImage(t *testing.T) {
	image := ""
	p := newPrimary(t, func(c *deploy.Config) { c.Image = func(string) string { return image } })
	p.push(1)
	p.start(false)
	p.pass(2)
	p.wantCounts("no image", map[string]int{})
	image = "stack:1"
	p.pass(3)
	p.wantCounts("an image", map[string]int{"v1": 1})
}

func TestRolling(t *testing.T) {
	p := newPrimary(t, nil)
	p.push(3)
	p.start(false)
	p.pass(1)
	p.nodes.allReady()
	p.pass(2)
	d := p.roll(cf.StrategyRolling, 1)
	p.pass(3)
	p.wantCounts("one on its way", map[string]int{"v1": 3, "v2": 1})
	p.nodes.crash(p.nomad.All(jobs.AppID(p.web, "v2"))[0].ID, "exit 1")
	p.pass(2)
	if got := p.deployment(d.GUID); got.Error != "instance 0: exit 1" || got.Status != cf.DeploymentActive {
		t.Errorf("deployment %+v, want it to say why it is stuck", got)
	}
	var steps []string
	for p.deployment(d.GUID).Status == cf.DeploymentActive && len(steps) < 50 {
		p.nodes.allReady()
		p.pass(1)
		if s := fmt.Sprint(p.count("v1"), p.count("v2")); len(steps) == 0 || steps[len(steps)-1] != s {
			steps = append(steps, s)
		}
	}
	want := []string{"3 1", "2 2", "1 3", "-1 3"}
	if len(steps) > 0 && steps[0] == "2 2" { // the first step may be over already
		want = want[1:]
	}
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Errorf("counts of old and new (-want +got):\n%s", diff)
	}
	got := p.deployment(d.GUID)
	if got.Reason != cf.ReasonDeployed || got.Error != "" || p.process().Version != "v2" || got.LastHealthyAt.IsZero() {
		t.Errorf("deployment %+v, process version %s", got, p.process().Version)
	}
}

func TestRollingIsCalledOffWithoutProgress(t *testing.T) {
	var said string
	p := newPrimary(t, func(c *deploy.Config) {
		c.Deadline = time.Minute
		c.Say = func(_, line string) { said += line }
	})
	p.push(2)
	p.start(false)
	p.pass(1)
	p.nodes.allReady()
	p.pass(2)
	d := p.roll(cf.StrategyRolling, 2)
	p.pass(1)
	p.wantCounts("on its way", map[string]int{"v1": 2, "v2": 2})
	p.nodes.crash(p.nomad.All(jobs.AppID(p.web, "v2"))[0].ID, "exit 1")
	p.pass(1)
	p.now = p.now.Add(time.Minute)
	p.pass(1)
	if got := p.deployment(d.GUID); got.Reason != cf.ReasonCanceling {
		t.Errorf("deployment %+v, want it called off", got)
	}
	if !strings.HasSuffix(said, "is called off after 1m0s: instance 0: exit 1") {
		t.Errorf("the app's log says %q", said)
	}
	p.pass(3)
	p.wantCounts("called off", map[string]int{"v1": 2})
	if got := p.deployment(d.GUID); got.Reason != cf.ReasonCanceled || p.process().Version != "v1" || p.serving() != 2 {
		t.Errorf("deployment %+v, version %s, %d serve", got, p.process().Version, p.serving())
	}
}

func TestRollingWithoutRoom(t *testing.T) {
	p := newPrimary(t, nil)
	p.nomad.Room, p.nomad.Why = 2, &deploy.Unplaced{Nodes: 1, Exhausted: 1, Dimensions: map[string]int{"memory": 1}}
	p.push(2)
	p.start(false)
	p.pass(1)
	p.nodes.allReady()
	p.pass(2)
	d := p.roll(cf.StrategyRolling, 1)
	p.pass(5)
	if got := p.deployment(d.GUID); !strings.HasPrefix(got.Error, "No DEA has enough room: memory is used up on 1 node.") || p.serving() != 2 {
		t.Errorf("deployment %+v, %d serve", got, p.serving())
	}
	for i := 0; i < 20 && p.deployment(d.GUID).Status == cf.DeploymentActive; i++ {
		p.nomad.SetRoom(3)
		p.nodes.allReady()
		p.pass(1)
	}
	if got := p.deployment(d.GUID); got.Reason != cf.ReasonDeployed || got.Error != "" {
		t.Errorf("deployment with room %+v", got)
	}
}

func TestRollingOfNothing(t *testing.T) {
	p := newPrimary(t, nil)
	p.push(0)
	p.start(false)
	p.pass(1)
	d := p.roll(cf.StrategyRolling, 1)
	p.pass(3)
	if got := p.deployment(d.GUID); got.Reason != cf.ReasonDeployed {
		t.Errorf("deployment %+v", got)
	}
	p.wantCounts("deployed", map[string]int{})
}

// Processes other than web have no deployment: they take over at its end.
func TestWorkersFollowTheDeployment(t *testing.T) {
	p := newPrimary(t, nil)
	p.push(1)
	worker := cf.Process{Resource: p.resource(), AppGUID: p.app, Type: "worker", Instances: 2, ProcessSettings: cf.ProcessSettings{Command: "work"}}
	var b state.Batch
	b.CreateProcess(worker)
	p.must(p.store.Apply(t.Context(), &b))
	p.start(false)
	p.pass(1)
	p.nodes.allReady()
	p.pass(2)
	p.wantCounts("started", map[string]int{"v1": 1, jobs.AppID(worker.GUID, "v1"): 2})
	p.roll(cf.StrategyRolling, 1)
	p.pass(1)
	p.wantCounts("on its way", map[string]int{"v1": 1, "v2": 1, jobs.AppID(worker.GUID, "v1"): 2})
	for range 5 {
		p.nodes.allReady()
		p.pass(1)
	}
	p.wantCounts("deployed", map[string]int{"v2": 1, jobs.AppID(worker.GUID, "v2"): 2})
}

func TestCanary(t *testing.T) {
	p := newPrimary(t, nil)
	p.push(4)
	p.start(false)
	p.pass(1)
	p.nodes.allReady()
	p.pass(2)
	d := p.roll(cf.StrategyCanary, 2, 25, 50)
	next := func(when string, want map[string]int, reason string, step int) {
		t.Helper()
		for range 4 {
			p.nodes.allReady()
			p.nodes.forget()
			p.pass(1)
		}
		p.wantCounts(when, want)
		if got := p.deployment(d.GUID); got.Reason != reason || got.CanaryStep != step {
			t.Errorf("%s: %s at step %d, want %s at %d", when, got.Reason, got.CanaryStep, reason, step)
		}
		if got := p.deployment(d.GUID); got.Status == cf.DeploymentActive {
			_, err := p.store.ContinueDeployment(t.Context(), state.Target{GUID: d.GUID, At: p.now})
			p.must(err)
		}
	}
	next("first step", map[string]int{"v1": 4, "v2": 1}, cf.ReasonPaused, 1)
	next("second step", map[string]int{"v1": 3, "v2": 2}, cf.ReasonPaused, 2)
	next("the rest", map[string]int{"v2": 4}, cf.ReasonDeployed, 3)
}

func TestCanaryCanceled(t *testing.T) {
	p := newPrimary(t, nil)
	p.push(2)
	p.start(false)
	p.pass(1)
	p.nodes.allReady()
	p.pass(2)
	d := p.roll(cf.StrategyCanary, 1)
	p.pass(1)
	p.nodes.allReady()
	p.pass(3)
	p.wantCounts("paused", map[string]int{"v1": 2, "v2": 1})
	_, err := p.store.CancelDeployment(t.Context(), state.Target{GUID: d.GUID, At: p.now})
	p.must(err)
	p.pass(3)
	p.wantCounts("canceled", map[string]int{"v1": 2})
	if got := p.deployment(d.GUID); got.Reason != cf.ReasonCanceled {
		t.Errorf("deployment %+v", got)
	}
}

// While a new Primary does not know what runs, it takes nothing away.
func TestNothingGoesWhileLearning(t *testing.T) {
	p := newPrimary(t, nil)
	p.push(2)
	p.start(false)
	p.pass(1)
	p.nodes.allReady()
	p.pass(2)
	p.roll(cf.StrategyRolling, 1)
	p.pass(1)
	p.nodes.allReady()
	p.nodes.mu.Lock()
	p.nodes.learned = false
	p.nodes.mu.Unlock()
	p.pass(5)
	if n := p.count("v1"); n != 2 {
		t.Errorf("old version has %d instances, want 2", n)
	}
	p.nodes.mu.Lock()
	p.nodes.learned = true
	p.nodes.mu.Unlock()
	p.pass(5)
	if n := p.count("v1"); n >= 2 {
		t.Errorf("old version still has %d instances", n)
	}
}

func TestTasks(t *testing.T) {
	p := newPrimary(t, nil)
	p.push(1)
	task := func(name string) cf.Task {
		t.Helper()
		got, err := p.store.CreateTask(t.Context(), cf.Task{Resource: p.resource(), AppGUID: p.app, Name: name, Command: "x", MemoryMB: 32, DiskMB: 32})
		p.must(err)
		return got
	}
	end := map[string]struct {
		change      func(*deploy.Alloc)
		state, want string
	}{
		"good":   {func(a *deploy.Alloc) { a.State = deploy.AllocComplete }, cf.TaskSucceeded, ""},
		"bad":    {func(a *deploy.Alloc) { a.State, a.ExitCode = deploy.AllocFailed, 3 }, cf.TaskFailed, "Exited with status 3"},
		"big":    {func(a *deploy.Alloc) { a.State, a.OOM, a.ExitCode = deploy.AllocFailed, true, 137 }, cf.TaskFailed, "Out of memory"},
		"lost":   {func(a *deploy.Alloc) { a.State = deploy.AllocLost }, cf.TaskFailed, "The node that ran the task was lost"},
		"broken": {func(a *deploy.Alloc) { a.State, a.Reason = deploy.AllocFailed, "no image" }, cf.TaskFailed, "no image"},
	}
	tasks := map[string]cf.Task{}
	for _, name := range slices.Sorted(maps.Keys(end)) {
		tasks[name] = task(name)
	}
	p.pass(1)
	for name, task := range tasks {
		alloc := p.nomad.All(jobs.TaskID(task.GUID))[0]
		p.nomad.Change(alloc.ID, func(a *deploy.Alloc) { a.State = deploy.AllocRunning })
		p.pass(1)
		if got, _ := p.store.Local().Task(task.GUID); got.State != cf.TaskRunning {
			t.Errorf("%s: %s, want it running", name, got.State)
		}
		p.nomad.Change(alloc.ID, end[name].change)
		p.pass(2)
		if got, _ := p.store.Local().Task(task.GUID); got.State != end[name].state || !strings.HasPrefix(got.FailureReason, end[name].want) {
			t.Errorf("%s: %s %q, want %s %q", name, got.State, got.FailureReason, end[name].state, end[name].want)
		}
	}
	p.wantCounts("over", map[string]int{})
}

func TestTaskCanceledOrWithoutRoom(t *testing.T) {
	p := newPrimary(t, nil)
	p.push(1)
	canceled, err := p.store.CreateTask(t.Context(), cf.Task{Resource: p.resource(), AppGUID: p.app, Command: "x"})
	p.must(err)
	p.pass(1)
	_, err = p.store.CancelTask(t.Context(), state.Target{GUID: canceled.GUID, At: p.now})
	p.must(err)
	p.pass(2)
	if got, _ := p.store.Local().Task(canceled.GUID); got.State != cf.TaskFailed || got.FailureReason != "The task was cancelled" {
		t.Errorf("canceled task: %s %q", got.State, got.FailureReason)
	}
	p.nomad.Room, p.nomad.Why = 0, &deploy.Unplaced{Nodes: 3, Exhausted: 3, Dimensions: map[string]int{"memory": 3}}
	waits, err := p.store.CreateTask(t.Context(), cf.Task{Resource: p.resource(), AppGUID: p.app, Command: "x"})
	p.must(err)
	p.pass(3)
	if got, _ := p.store.Local().Task(waits.GUID); got.State != cf.TaskPending {
		t.Errorf("task without room: %s at once", got.State)
	}
	p.now = p.now.Add(time.Minute)
	p.pass(3)
	if got, _ := p.store.Local().Task(waits.GUID); got.State != cf.TaskFailed ||
		!strings.HasPrefix(got.FailureReason, "InsufficientResources: No DEA has enough room: memory is used up on 3 nodes.") {
		t.Errorf("task without room: %s %q", got.State, got.FailureReason)
	}
}

// A build has a job for as long as it is staging, in the zone of its app.
func TestBuildsHaveJobs(t *testing.T) {
	p := newPrimary(t, nil)
	p.push(1)
	zone := "gold"
	_, err := p.store.UpdateApp(t.Context(), state.AppUpdate{GUID: p.app, PlacementZone: &zone, At: p.now})
	p.must(err)
	pkg := cf.Package{Resource: p.resource(), AppGUID: p.app, State: cf.PackageReady}
	p.must(p.store.CreatePackage(t.Context(), pkg))
	b := cf.Build{Resource: p.resource(), PackageGUID: pkg.GUID, State: cf.BuildStaging, MemoryMB: 1024, DiskMB: 2048}
	p.must(p.store.CreateBuild(t.Context(), b))
	p.pass(1)
	want := jobs.Staging(jobs.Build{
		App: p.app, GUID: b.GUID, Size: jobs.Size{MemoryMB: 1024, DiskMB: 2048}, Image: "stack:1",
		Placement: jobs.Placement{Zone: "gold"},
	})
	if diff := cmp.Diff(want, p.nomad.Spec(jobs.StagingID(b.GUID))); diff != "" {
		t.Errorf("job (-want +got):\n%s", diff)
	}
	_, err = p.store.FinishBuild(t.Context(), state.BuildFinish{GUID: b.GUID, Error: "StagingError - no", At: p.now})
	p.must(err)
	p.pass(1)
	p.wantCounts("ended", map[string]int{})
}
