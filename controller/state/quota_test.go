package state

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// town is a store with an organization, two spaces and a domain.
type town struct {
	*testing.T
	*Store
	n int
}

func newTown(t *testing.T) *town {
	t.Helper()
	w := &town{T: t, Store: NewMemory()}
	w.must(w.PlantSeed(t.Context(), Seed{Quota: cf.Quota{Resource: w.row("default"), Name: cf.DefaultQuota}, Domain: cf.Domain{Resource: w.row("domain"), Name: "apps.test"}, Stack: cf.Stack{Resource: w.row("stack"), Name: "stackato"}}))
	w.must(w.CreateOrganization(t.Context(), cf.Organization{Resource: w.row("org"), Name: "acme"}))
	w.must(w.CreateSpace(t.Context(), cf.Space{Resource: w.row("dev"), Name: "dev", OrgGUID: "org"}))
	w.must(w.CreateSpace(t.Context(), cf.Space{Resource: w.row("prod"), Name: "prod", OrgGUID: "org"}))
	return w
}

func (w *town) row(guid string) cf.Resource {
	return cf.Resource{GUID: guid, CreatedAt: noon, UpdatedAt: noon}
}

func (w *town) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// refused ends the test unless err is CF-UnprocessableEntity with all parts.
func (w *town) refused(err error, parts ...string) {
	w.Helper()
	if !errors.Is(err, cf.ErrUnprocessable) {
		w.Fatalf("want a refusal, got %v", err)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			w.Errorf("%q is not in: %v", p, err)
		}
	}
}

// app makes a stopped app with a droplet; its web process is "<name>-web".
func (w *town) app(space, name string, instances, memoryMB int) {
	w.Helper()
	ctx := w.Context()
	w.must(w.CreateApp(ctx, AppCreation{
		App: cf.App{Resource: w.row(name), Name: name, SpaceGUID: space, State: cf.AppStopped},
		Web: cf.Process{Resource: w.row(name + "-web"), AppGUID: name, Type: cf.ProcessWeb, Instances: instances, ProcessSettings: cf.ProcessSettings{Command: "run", MemoryMB: memoryMB}},
	}))
	w.must(w.CreateDroplet(ctx, cf.Droplet{Resource: w.row(name + "-droplet"), AppGUID: name, State: cf.DropletStaged}))
	_, err := w.AssignDroplet(ctx, DropletAssignment{AppGUID: name, DropletGUID: name + "-droplet", At: noon})
	w.must(err)
}

func (w *town) start(name string) error {
	w.n++
	_, err := w.StartApp(w.Context(), AppStart{GUID: name, Version: fmt.Sprint("v", w.n), RevisionGUID: fmt.Sprint("r", w.n), At: noon})
	return err
}

func (w *town) scale(name string, instances, memoryMB *int) error {
	w.n++
	_, err := w.UpdateProcess(w.Context(), ProcessUpdate{GUID: name + "-web", Instances: instances, MemoryMB: memoryMB, Version: fmt.Sprint("v", w.n), At: noon})
	return err
}

// limit gives the default quota, or a space, limits.
func (w *town) limit(space string, l cf.Limits) {
	w.Helper()
	if space == "" {
		_, err := w.UpdateQuota(w.Context(), QuotaUpdate{GUID: "default", Limits: &l, At: noon})
		w.must(err)
		return
	}
	guid := "quota of " + space
	w.must(w.CreateQuota(w.Context(), cf.Quota{Resource: w.row(guid), Name: guid, OrgGUID: "org", Limits: l}))
	w.must(w.AssignQuota(w.Context(), QuotaAssignment{GUID: guid, Spaces: []string{space}, At: noon}))
}

func TestMemoryQuota(t *testing.T) {
	w := newTown(t)
	w.app("dev", "a", 2, 256)
	w.app("prod", "b", 1, 512)
	w.limit("", cf.Limits{MemoryMB: new(1024)})
	w.must(w.start("a"))
	w.must(w.start("b"))
	w.refused(w.scale("a", new(3), nil), "memory quota_exceeded", "organization 'acme' is 1024M, of which 0M are left; needed are 256M more")
	w.refused(w.scale("b", nil, new(513)), "needed are 1M more")
	if p, _ := w.Local().Process("a-web"); p.Instances != 2 {
		t.Errorf("a refused scale left %d instances", p.Instances)
	}
	w.must(w.scale("a", new(1), nil))
	w.must(w.scale("a", new(2), nil))
	w.app("dev", "c", 1, 64)
	w.refused(w.start("c"), "needed are 64M more")
	if a, _ := w.Local().App("c"); a.State != cf.AppStopped {
		t.Error("a refused app is started")
	}
	_, err := w.StopApp(t.Context(), Target{GUID: "b", At: noon})
	w.must(err)
	w.must(w.start("c"))
	if got := w.Local().UsageOfOrganization("org"); got != (Usage{576, 3}) {
		t.Errorf("usage %+v", got)
	}
}

// Whoever is over a quota that was made smaller can still make things smaller.
func TestQuotaThatWasMadeSmaller(t *testing.T) {
	w := newTown(t)
	w.app("dev", "a", 4, 256)
	w.must(w.start("a"))
	w.limit("dev", cf.Limits{MemoryMB: new(512), Instances: new(1)})
	w.must(w.scale("a", new(3), nil))
	w.refused(w.scale("a", new(4), nil), "space_quota_exceeded", "space 'dev' is 512M, of which 0M are left")
	w.must(w.scale("a", nil, new(128)))
}

func TestInstanceQuotas(t *testing.T) {
	w := newTown(t)
	w.app("dev", "a", 2, 256)
	w.app("prod", "b", 1, 512)
	w.limit("dev", cf.Limits{Instances: new(3), InstanceMemoryMB: new(256)})
	w.must(w.start("a"))
	w.refused(w.scale("a", new(4), nil), "instances space_instance_limit_exceeded", "the quota of space 'dev' is 3 instances, of which 1 are left; needed are 2 more")
	w.refused(w.scale("a", nil, new(257)), "instance_memory_limit_exceeded", "may have 256M, asked for are 257M")
	w.must(w.start("b"))
	w.limit("", cf.Limits{Instances: new(3)})
	w.refused(w.scale("a", new(3), nil), "organization 'acme' is 3 instances, of which 0 are left")
}

func TestTaskQuota(t *testing.T) {
	w := newTown(t)
	w.app("dev", "a", 0, 256)
	w.limit("", cf.Limits{MemoryMB: new(100), AppTasks: new(2)})
	task := func(guid string, memory int) error {
		_, err := w.CreateTask(t.Context(), cf.Task{Resource: w.row(guid), AppGUID: "a", Name: guid, Command: "x", MemoryMB: memory})
		return err
	}
	w.refused(task("big", 101), "of which 100M are left; needed are 101M more")
	w.must(task("1", 10))
	w.refused(task("big", 91), "of which 90M are left")
	w.must(task("2", 10))
	w.refused(task("3", 10), "2 running tasks")
	_, err := w.UpdateTask(t.Context(), TaskUpdate{GUID: "1", State: cf.TaskSucceeded, At: noon})
	w.must(err)
	w.must(task("3", 10))
}

func TestRouteAndServiceQuotas(t *testing.T) {
	w := newTown(t)
	route := func(space, host string) error {
		return w.CreateRoute(t.Context(), cf.Route{Resource: w.row(space + host), Host: host, DomainGUID: "domain", SpaceGUID: space})
	}
	service := func(space, name string) error {
		return w.CreateServiceInstance(t.Context(), cf.ServiceInstance{Resource: w.row(name), Name: name, SpaceGUID: space, Type: cf.ServiceUserProvided})
	}
	w.limit("", cf.Limits{Routes: new(2), ServiceInstances: new(2)})
	w.limit("dev", cf.Limits{Routes: new(1), ServiceInstances: new(1)})
	w.must(route("dev", "a"))
	w.refused(route("dev", "b"), "space 'dev': of 1 routes none is left")
	w.must(route("prod", "b"))
	w.refused(route("prod", "c"), "organization 'acme': of 2 routes none is left")
	w.must(w.DeleteRoute(t.Context(), Target{GUID: "deva", At: noon}))
	w.must(route("prod", "c"))
	w.must(service("dev", "x"))
	w.refused(service("dev", "y"), "space's services limit")
	w.must(service("prod", "y"))
	w.refused(service("prod", "z"), "organization's services limit")
}

// Requests at the same time cannot share what is left of a quota.
func TestQuotaUnderConcurrency(t *testing.T) {
	w := newTown(t)
	w.limit("", cf.Limits{Routes: new(10)})
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			_ = w.CreateRoute(context.Background(), cf.Route{Resource: w.row(fmt.Sprint(i)), Host: fmt.Sprint("h", i), DomainGUID: "domain", SpaceGUID: []string{"dev", "prod"}[i%2]})
		})
	}
	wg.Wait()
	if n := len(w.Local().Routes()); n != 10 {
		t.Errorf("%d routes, the quota is 10", n)
	}
}
