package state

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/wire/instance"
)

// shop is a store with a space and an app in it.
type shop struct {
	*testing.T
	*Store
	n int
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{T: t, Store: NewMemory()}
	s.must(s.CreateOrganization(t.Context(), cf.Organization{Resource: s.res("org"), Name: "org"}))
	s.must(s.CreateSpace(t.Context(), cf.Space{Resource: s.res("space"), Name: "space", OrgGUID: "org"}))
	s.newApp("app")
	return s
}

func (s *shop) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// refused wants an error of the API with a part of its detail.
func (s *shop) refused(err error, detail string) {
	s.Helper()
	var e *cf.Error
	if !errors.As(err, &e) || !strings.Contains(e.Detail, detail) {
		s.Errorf("error %v, want %q", err, detail)
	}
}

func (s *shop) at() time.Time {
	s.n++
	return time.Date(2026, 1, 1, 0, 0, s.n, 0, time.UTC)
}

func (s *shop) res(guid string) cf.Resource {
	at := s.at()
	return cf.Resource{GUID: guid, CreatedAt: at, UpdatedAt: at}
}

func (s *shop) newApp(guid string) {
	s.Helper()
	s.must(s.CreateApp(s.Context(), s.creation(guid)))
}

func (s *shop) creation(guid string) AppCreation {
	return AppCreation{
		App: cf.App{Resource: s.res(guid), Name: guid, SpaceGUID: "space", State: cf.AppStopped},
		Web: cf.Process{Resource: s.res(guid + "-web"), AppGUID: guid, Type: "web", Instances: 1, ProcessSettings: cf.ProcessSettings{MemoryMB: 100}},
	}
}

func digest(name string) instance.Blob { return instance.Blob{Digest: "digest-" + name, Size: 1} }

// stage makes a droplet of the app the way builds do.
func (s *shop) stage(name string, types ...string) string {
	s.Helper()
	ctx := s.Context()
	p := cf.Package{Resource: s.res("package-" + name), AppGUID: "app", Type: "bits", State: cf.PackageAwaitingUpload}
	s.must(s.CreatePackage(ctx, p))
	ready, b := cf.PackageReady, digest("package-"+name)
	_, err := s.UpdatePackage(ctx, PackageUpdate{GUID: p.GUID, State: &ready, Blob: &b, At: s.at()})
	s.must(err)
	s.must(s.CreateBuild(ctx, cf.Build{Resource: s.res("build-" + name), PackageGUID: p.GUID, State: cf.BuildStaging}))
	d := &cf.Droplet{Resource: s.res("droplet-" + name), Blob: digest(name), ProcessTypes: map[string]string{"web": "run " + name}}
	for _, typ := range types {
		d.ProcessTypes[typ] = "run " + typ
	}
	_, err = s.FinishBuild(ctx, BuildFinish{GUID: "build-" + name, Droplet: d, Cache: digest("cache"), At: s.at()})
	s.must(err)
	return d.GUID
}

func (s *shop) assign(droplet string, types ...string) {
	s.Helper()
	n := NewProcesses{GUIDs: map[string]string{}, Settings: cf.ProcessSettings{MemoryMB: 50}}
	for _, typ := range append(types, "web") {
		n.GUIDs[typ] = "app-" + typ
	}
	_, err := s.AssignDroplet(s.Context(), DropletAssignment{AppGUID: "app", DropletGUID: droplet, Processes: n, At: s.at()})
	s.must(err)
}

func (s *shop) start(version string, restart bool) {
	s.Helper()
	_, err := s.StartApp(s.Context(), AppStart{GUID: "app", Restart: restart, Version: version, RevisionGUID: "revision-" + version, At: s.at()})
	s.must(err)
}

func (s *shop) deploy(version string, change func(*DeploymentCreation)) (cf.Deployment, error) {
	c := DeploymentCreation{
		Deployment:   cf.Deployment{Resource: s.res("deployment-" + version), AppGUID: "app", Strategy: cf.StrategyRolling, MaxInFlight: 1, NewVersion: version},
		RevisionGUID: "revision-" + version,
	}
	if change != nil {
		change(&c)
	}
	return s.CreateDeployment(s.Context(), c)
}

func (s *shop) app() cf.App { a, _ := s.Local().App("app"); return a }

// runs checks which version of the web process runs, and its command.
func (s *shop) runs(version, command string) {
	s.Helper()
	p, _ := s.Local().Process("app-web")
	v, found := s.Local().ProcessVersion("app-web", p.Version)
	if p.Version != version || !found || v.Command != command {
		s.Errorf("web runs version %q with %q (%v), want %q with %q", p.Version, v.Command, found, version, command)
	}
}

func TestStartMakesVersions(t *testing.T) {
	s := newShop(t)
	_, err := s.StartApp(t.Context(), AppStart{GUID: "app", Version: "v1", At: s.at()})
	s.refused(err, "Assign a droplet before starting this app.")
	s.assign(s.stage("one", "worker"), "worker")
	s.start("v1", false)
	s.runs("v1", "run one")
	s.start("v2", false) // is started: nothing happens
	s.runs("v1", "run one")

	command := "mine"
	_, err = s.UpdateProcess(t.Context(), ProcessUpdate{GUID: "app-web", Command: &command, At: s.at()})
	s.must(err)
	s.runs("v1", "run one") // until the next start
	s.start("v3", true)
	s.runs("v3", "mine")
	if v, _ := s.Local().ProcessVersion("app-web", "v1"); v.Command != "run one" || v.Droplet != digest("one") {
		t.Errorf("the old version changed: %+v", v)
	}

	// What still runs is not forgotten.
	s.must(s.DeleteProcessVersions(t.Context(), VersionKey{"app-web", "v1"}, VersionKey{"app-web", "v3"}))
	if got := len(s.Local().ProcessVersionsOf("app-web")); got != 1 {
		t.Errorf("%d versions are left, want 1", got)
	}
	one := 1
	_, err = s.UpdateProcess(t.Context(), ProcessUpdate{GUID: "app-worker", Instances: &one, Version: "v4", At: s.at()})
	s.must(err)
	if p, _ := s.Local().Process("app-worker"); p.Version != "v3" {
		t.Errorf("scaling made version %q", p.Version)
	}
}

func TestProcessWithoutCommandIsNotStarted(t *testing.T) {
	s := newShop(t)
	s.assign(s.stage("one"))
	var b Batch
	b.CreateProcess(cf.Process{Resource: s.res("app-odd"), AppGUID: "app", Type: "odd", Instances: 1})
	s.must(s.Apply(t.Context(), &b))
	_, err := s.StartApp(t.Context(), AppStart{GUID: "app", Version: "v1", RevisionGUID: "r", At: s.at()})
	s.refused(err, "the droplet has none for the process 'odd'")
	if s.app().State != cf.AppStopped || len(s.Local().RevisionsOfApp("app")) != 0 {
		t.Error("the refused start left something")
	}
}

func TestDeploymentRunsTwoVersions(t *testing.T) {
	s := newShop(t)
	s.assign(s.stage("one"))
	s.start("v1", false)
	s.stage("two")
	d, err := s.deploy("v2", func(c *DeploymentCreation) {
		c.Deployment.DropletGUID, c.Processes.GUIDs = "droplet-two", map[string]string{"web": "x"}
	})
	s.must(err)
	if d.Status != cf.DeploymentActive || d.PreviousDropletGUID != "droplet-one" || d.ProcessGUID != "app-web" || d.RevisionVersion != 2 {
		t.Errorf("deployment %+v", d)
	}
	s.runs("v1", "run one") // until the end
	if v, _ := s.Local().ProcessVersion("app-web", "v2"); v.Command != "run two" {
		t.Errorf("new version %+v", v)
	}
	s.must(s.DeleteProcessVersions(t.Context(), VersionKey{"app-web", "v2"}))

	// Another one supersedes it, and goes back to what ran before both.
	d2, err := s.deploy("v3", nil)
	s.must(err)
	if old, _ := s.Local().Deployment(d.GUID); old.Reason != cf.ReasonSuperseded || d2.PreviousDropletGUID != "droplet-one" {
		t.Errorf("first %+v, second %+v", old, d2)
	}
	_, err = s.CancelDeployment(t.Context(), Target{d2.GUID, s.at()})
	s.must(err)
	if got := s.app().DropletGUID; got != "droplet-one" {
		t.Errorf("after the cancel the droplet is %s", got)
	}
	d2, err = s.FinishDeployment(t.Context(), Target{d2.GUID, s.at()})
	s.must(err)
	if d2.Status != cf.DeploymentFinalized || d2.Reason != cf.ReasonCanceled {
		t.Errorf("canceled deployment %+v", d2)
	}
	s.runs("v1", "run one")
	_, err = s.CancelDeployment(t.Context(), Target{d2.GUID, s.at()})
	s.refused(err, "Cannot cancel a FINALIZED deployment")

	d3, err := s.deploy("v4", nil)
	s.must(err)
	_, err = s.FinishDeployment(t.Context(), Target{d3.GUID, s.at()})
	s.must(err)
	s.runs("v4", "run one")
	_, err = s.FinishDeployment(t.Context(), Target{d3.GUID, s.at()}) // again
	s.must(err)
}

func TestCanarySteps(t *testing.T) {
	s := newShop(t)
	s.assign(s.stage("one"))
	s.start("v1", false)
	d, err := s.deploy("v2", func(c *DeploymentCreation) {
		c.Deployment.Strategy, c.Deployment.CanarySteps = cf.StrategyCanary, []int{20, 60}
	})
	s.must(err)
	for step := 1; step <= 2; step++ {
		_, err = s.ContinueDeployment(t.Context(), Target{d.GUID, s.at()})
		s.refused(err, "Cannot continue a deployment with status: ACTIVE and reason: DEPLOYING")
		d, err = s.ProgressDeployment(t.Context(), DeploymentProgress{GUID: d.GUID, Pause: true, At: s.at()})
		s.must(err)
		if d.CanaryStep != step || d.Reason != cf.ReasonPaused {
			t.Errorf("at step %d: %+v", step, d)
		}
		d, err = s.ContinueDeployment(t.Context(), Target{d.GUID, s.at()})
		s.must(err)
	}
	if d.CanaryStep != 3 || d.Reason != cf.ReasonDeploying {
		t.Errorf("after the steps: %+v", d)
	}
	_, err = s.StopApp(t.Context(), Target{"app", s.at()})
	s.must(err)
	if d, _ := s.Local().Deployment(d.GUID); d.Reason != cf.ReasonSuperseded {
		t.Errorf("after a stop: %+v", d)
	}
}

func TestDeploymentOfAStoppedAppStartsIt(t *testing.T) {
	s := newShop(t)
	s.assign(s.stage("one"))
	d, err := s.deploy("v1", nil)
	s.must(err)
	if d.Reason != cf.ReasonDeployed || s.app().State != cf.AppStarted {
		t.Errorf("deployment %+v", d)
	}
	s.runs("v1", "run one")
}

func TestRevisions(t *testing.T) {
	s := newShop(t)
	s.assign(s.stage("one"))
	s.start("v1", false)
	s.start("v2", true) // nothing is new
	_, err := s.UpdateApp(t.Context(), AppUpdate{GUID: "app", Env: cf.SecretMap{"A": cf.Secret("sealed")}, At: s.at()})
	s.must(err)
	command := "mine"
	_, err = s.UpdateProcess(t.Context(), ProcessUpdate{GUID: "app-web", Command: &command, At: s.at()})
	s.must(err)
	s.start("v3", true)
	s.assign(s.stage("two"))
	s.start("v4", true)

	_, err = s.deploy("v5", func(c *DeploymentCreation) {
		c.RollbackTo, c.Processes.GUIDs = "revision-v1", map[string]string{"web": "x"}
	})
	s.must(err)
	var got []string
	for _, r := range s.Local().RevisionsOfApp("app") {
		got = append(got, fmt.Sprint(r.Version, " ", r.Description))
	}
	want := []string{
		"1 Initial revision.",
		"2 New environment variables deployed. Custom start command added for 'web' process.",
		"3 New droplet deployed.",
		"4 New droplet deployed. New environment variables deployed. Custom start command removed for 'web' process. Rolled back to revision 1.",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("revisions\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if a := s.app(); a.DropletGUID != "droplet-one" || len(a.Env) != 0 {
		t.Errorf("rolled back app %+v", a)
	}
	// A cancel brings back what was there before.
	_, err = s.CancelDeployment(t.Context(), Target{"deployment-v5", s.at()})
	s.must(err)
	if p, _ := s.Local().Process("app-web"); p.Command != "mine" || len(s.app().Env) != 1 || s.app().DropletGUID != "droplet-two" {
		t.Errorf("after the cancel: %+v, %+v", p, s.app())
	}
}

func TestOnlySoManyAreKept(t *testing.T) {
	s := newShop(t)
	s.assign(s.stage("0"))
	s.start("v1", false)
	for i := range 8 {
		s.stage(fmt.Sprint(i + 1))
	}
	v := s.Local()
	var names []string
	for _, d := range v.DropletsOfApp("app") {
		names = append(names, d.GUID)
	}
	if got, want := strings.Join(names, " "), "droplet-0 droplet-4 droplet-5 droplet-6 droplet-7 droplet-8"; got != want {
		t.Errorf("droplets %s, want %s", got, want)
	}
	if got := len(v.PackagesOfApp("app")); got != packagesKept {
		t.Errorf("%d packages are kept, want %d", got, packagesKept)
	}
	blobs := v.AppBlobs()
	for name, want := range map[string]bool{"0": true, "3": false, "8": true, "cache": true, "package-8": true, "package-0": false} {
		if _, got := blobs[digest(name).Digest]; got != want {
			t.Errorf("blob %s is referred to: %v, want %v", name, got, want)
		}
	}
}

func TestBuildEndsOnce(t *testing.T) {
	s := newShop(t)
	s.stage("one")
	_, err := s.FinishBuild(t.Context(), BuildFinish{GUID: "build-one", Error: "late", At: s.at()})
	s.refused(err, "The build has ended already.")
	s.must(s.CreateBuild(t.Context(), cf.Build{Resource: s.res("b2"), PackageGUID: "package-one", State: cf.BuildStaging}))
	err = s.CreateBuild(t.Context(), cf.Build{Resource: s.res("b3"), PackageGUID: "package-one", State: cf.BuildStaging})
	s.refused(err, "Only one build can be STAGING at a time per application.")
	s.must(s.SetBuildToken(t.Context(), BuildToken{"b2", "hash"}))
	b, err := s.FinishBuild(t.Context(), BuildFinish{GUID: "b2", Error: "NoAppDetectedError - no", At: s.at()})
	s.must(err)
	if b.State != cf.BuildFailed || b.TokenHash != "" {
		t.Errorf("failed build %+v", b)
	}
}

func TestTasks(t *testing.T) {
	s := newShop(t)
	_, err := s.CreateTask(t.Context(), cf.Task{Resource: s.res("t0"), AppGUID: "app"})
	s.refused(err, "Task must have a droplet.")
	s.assign(s.stage("one"))
	task, err := s.CreateTask(t.Context(), cf.Task{Resource: s.res("t1"), AppGUID: "app", Command: "ls"})
	s.must(err)
	if task.SequenceID != 1 || task.State != cf.TaskPending || task.Droplet != digest("one") {
		t.Errorf("task %+v", task)
	}
	_, err = s.CancelTask(t.Context(), Target{"t1", s.at()})
	s.must(err)
	task, err = s.UpdateTask(t.Context(), TaskUpdate{GUID: "t1", State: cf.TaskRunning, At: s.at()})
	s.must(err)
	if task.State != cf.TaskCanceling {
		t.Errorf("a canceling task is %s", task.State)
	}
	_, err = s.UpdateTask(t.Context(), TaskUpdate{GUID: "t1", State: cf.TaskFailed, FailureReason: "cancelled", At: s.at()})
	s.must(err)
	task, err = s.UpdateTask(t.Context(), TaskUpdate{GUID: "t1", State: cf.TaskSucceeded, At: s.at()})
	s.must(err)
	if task.State != cf.TaskFailed {
		t.Errorf("an ended task became %s", task.State)
	}
	_, err = s.CancelTask(t.Context(), Target{"t1", s.at()})
	s.refused(err, "Task state is FAILED and therefore cannot be canceled")
}

func TestBatchIsAllOrNothing(t *testing.T) {
	s := newShop(t)
	var b Batch
	b.CreateApp(s.creation("new"))
	b.CreateApp(s.creation("app")) // exists
	s.refused(s.Apply(t.Context(), &b), "App with the name 'app' already exists.")
	if _, found := s.Local().App("new"); found {
		t.Error("the first half of the batch was kept")
	}
	var good Batch
	good.CreateApp(s.creation("new"))
	good.CreateProcess(cf.Process{Resource: s.res("p"), AppGUID: "new", Type: "worker"})
	s.must(s.Apply(t.Context(), &good))
	if got := len(s.Local().ProcessesOfApp("new")); got != 2 {
		t.Errorf("%d processes, want 2", got)
	}
}

func TestAppQuota(t *testing.T) {
	s := newShop(t)
	memory, instances := 250, 3
	s.must(s.CreateQuota(t.Context(), cf.Quota{Resource: s.res("q"), Name: "q", OrgGUID: "org", Limits: cf.Limits{MemoryMB: &memory, Instances: &instances}}))
	s.must(s.AssignQuota(t.Context(), QuotaAssignment{GUID: "q", Spaces: []string{"space"}, At: s.at()}))
	s.assign(s.stage("one"))
	s.start("v1", false)
	n := 3
	_, err := s.UpdateProcess(t.Context(), ProcessUpdate{GUID: "app-web", Instances: &n, At: s.at()})
	s.refused(err, "is 250M, of which 150M are left; needed are 200M more")
	n = 2
	_, err = s.UpdateProcess(t.Context(), ProcessUpdate{GUID: "app-web", Instances: &n, At: s.at()})
	s.must(err)
	_, err = s.CreateTask(t.Context(), cf.Task{Resource: s.res("t"), AppGUID: "app", MemoryMB: 100})
	s.refused(err, "of which 50M are left")
	_, err = s.StopApp(t.Context(), Target{"app", s.at()})
	s.must(err)
	n = 3
	_, err = s.UpdateProcess(t.Context(), ProcessUpdate{GUID: "app-web", Instances: &n, At: s.at()}) // stopped: no matter
	s.must(err)
	_, err = s.StartApp(t.Context(), AppStart{GUID: "app", Version: "v2", RevisionGUID: "r", At: s.at()})
	s.refused(err, "needed are 300M more")
}

func TestDeletedAppLeavesNothing(t *testing.T) {
	s := newShop(t)
	s.assign(s.stage("one"))
	s.start("v1", false)
	_, err := s.CreateTask(t.Context(), cf.Task{Resource: s.res("t"), AppGUID: "app"})
	s.must(err)
	s.must(s.CreateServiceInstance(t.Context(), cf.ServiceInstance{Resource: s.res("i"), Name: "i", SpaceGUID: "space", Type: cf.ServiceUserProvided}))
	s.must(s.CreateServiceBinding(t.Context(), cf.ServiceBinding{Resource: s.res("b"), Type: cf.BindingApp, AppGUID: "app", ServiceInstanceGUID: "i"}))
	err = s.CreateServiceBinding(t.Context(), cf.ServiceBinding{Resource: s.res("b2"), Type: cf.BindingApp, AppGUID: "app", ServiceInstanceGUID: "i"})
	s.refused(err, "The app is already bound to the service instance")
	_, err = s.deploy("v2", nil)
	s.must(err)
	s.must(s.DeleteApp(t.Context(), Target{"app", s.at()}))
	v := s.Local()
	if n := len(v.Processes()) + len(v.ProcessVersions()) + len(v.Packages()) + len(v.Builds()) + len(v.Droplets()) +
		len(v.Deployments()) + len(v.RevisionsOfApp("app")) + len(v.Tasks()) + len(v.ServiceBindings()) + len(v.AppBlobs()); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	s.refused(s.DeleteApp(t.Context(), Target{"app", s.at()}), "App not found")
}
