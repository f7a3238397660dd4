package deploy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/deploy"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/jobs"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/rpcerr"
)

// open is a sealer that hides nothing but notes the context.
type open struct{}

func (open) Seal(plain []byte, context string) ([]byte, error) {
	return []byte(context + "\n" + string(plain)), nil
}

func (open) Open(sealed []byte, context string) ([]byte, error) {
	plain, ok := bytes.CutPrefix(sealed, []byte(context+"\n"))
	if !ok {
		return nil, errors.New("sealed for something else")
	}
	return plain, nil
}

type echo struct{}

func (echo) Open(_ context.Context, digest string) (io.ReadCloser, int64, error) {
	return io.NopCloser(strings.NewReader(digest)), int64(len(digest)), nil
}

func (p *primary) specs() *deploy.Specs {
	return deploy.NewSpecs(deploy.SpecConfig{
		State: p.store, Placement: p.nomad, Sealer: open{}, Blobs: echo{},
		APIURL: func() string { return "https://api.example.com" }, Certificates: func() string { return "PEM" },
	})
}

func ptr[T any](v T) *T { return &v }

// furnish gives the app an environment, a service and a route.
func (p *primary) furnish() {
	p.tt.Helper()
	ctx := p.tt.Context()
	env, err := state.SealEnv(open{}, p.app, map[string]*string{"COLOUR": ptr("green"), "SECRET": ptr("open sesame")})
	p.must(err)
	_, err = p.store.UpdateApp(ctx, state.AppUpdate{GUID: p.app, Env: env, At: p.now})
	p.must(err)
	_, err = p.store.UpdateEnvGroup(ctx, state.EnvGroupUpdate{
		Name: cf.EnvRunning, Var: map[string]*string{"COLOUR": ptr("red"), "REGION": ptr("here")}, At: p.now,
	})
	p.must(err)
	svc := cf.ServiceInstance{Resource: p.resource(), Name: "db", SpaceGUID: "space", Type: cf.ServiceUserProvided}
	svc.Credentials, err = state.SealCredentials(open{}, svc.GUID, []byte(`{"uri":"db://x"}`))
	p.must(err)
	p.must(p.store.CreateServiceInstance(ctx, svc))
	p.must(p.store.CreateServiceBinding(ctx, cf.ServiceBinding{
		Resource: p.resource(), Type: cf.BindingApp, AppGUID: p.app, ServiceInstanceGUID: svc.GUID,
	}))
	domain := cf.Domain{Resource: p.resource(), Name: "example.com"}
	p.must(p.store.CreateDomain(ctx, domain))
	route := cf.Route{Resource: p.resource(), Host: "shop", DomainGUID: domain.GUID, SpaceGUID: "space"}
	p.must(p.store.CreateRoute(ctx, route))
	p.must(p.store.MapRoute(ctx, state.RouteMapping{RouteGUID: route.GUID, Destinations: []cf.Destination{{
		Resource: p.resource(), RouteGUID: route.GUID, AppGUID: p.app, ProcessType: "web", Protocol: cf.ProtocolHTTP1,
	}}}))
}

func TestInstanceSpec(t *testing.T) {
	p := newPrimary(t, nil)
	p.push(1)
	p.furnish()
	p.start(false)
	p.pass(1)
	id := jobs.AppID(p.web, "v1")
	alloc := p.nomad.All(id)[0].ID
	spec, err := p.specs().Instance(t.Context(), "node", alloc, jobs.KindApp, p.web, "v1")
	p.must(err)
	want := map[string]string{"COLOUR": "green", "SECRET": "open sesame", "REGION": "here"}
	if diff := cmp.Diff(want, spec.Env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	var app map[string]any
	p.must(json.Unmarshal(spec.Application, &app))
	for key, want := range map[string]any{
		"application_name": "shop", "space_name": "dev", "organization_name": "acme", "process_type": "web",
		"cf_api": "https://api.example.com", "version": "v1",
	} {
		if app[key] != want {
			t.Errorf("VCAP_APPLICATION: %s is %v, want %v", key, app[key], want)
		}
	}
	if diff := cmp.Diff([]any{"shop.example.com"}, app["uris"]); diff != "" {
		t.Errorf("uris %s", diff)
	}
	if !strings.Contains(string(spec.Services), `"uri":"db://x"`) {
		t.Errorf("VCAP_SERVICES %s", spec.Services)
	}
	if spec.Command != "run" || spec.MemoryMB != 64 || spec.Certificates != "PEM" || spec.AppName != "shop" || spec.Version != "v1" {
		t.Errorf("specification %+v", spec)
	}
	job, err := json.Marshal(p.nomad.Spec(id))
	p.must(err)
	for _, secret := range []string{"sesame", "green", "db://x", "run\"", spec.Droplet.Digest} {
		if strings.Contains(string(job), secret) {
			t.Errorf("the job shows %q", secret)
		}
	}
}

func TestTaskSpec(t *testing.T) {
	p := newPrimary(t, nil)
	p.push(1)
	p.furnish()
	task, err := p.store.CreateTask(t.Context(), cf.Task{
		Resource: p.resource(), AppGUID: p.app, Name: "migrate", Command: "rake", MemoryMB: 32,
	})
	p.must(err)
	p.pass(1)
	alloc := p.nomad.All(jobs.TaskID(task.GUID))[0].ID
	spec, err := p.specs().Instance(t.Context(), "node", alloc, jobs.KindTask, task.GUID, "")
	p.must(err)
	if spec.Command != "rake" || spec.TaskName != "migrate" || spec.ProcessGUID != task.GUID || spec.Health.Type != instance.CheckProcess ||
		spec.Env["SECRET"] != "open sesame" {
		t.Errorf("specification %+v", spec)
	}
}

func TestWhatIsNotPlacedOnTheNodeIsRefused(t *testing.T) {
	p := newPrimary(t, nil)
	p.push(1)
	p.start(false)
	p.nomad.Nodes = []string{"n1"}
	p.pass(1)
	mine := p.nomad.All(jobs.AppID(p.web, "v1"))[0].ID
	other := &primary{p.world, p.Steps, t}
	web := p.web
	digest := p.store.Local().ProcessVersions()[0].Droplet.Digest
	p.nomad.Nodes = []string{"n2"}
	task, err := p.store.CreateTask(t.Context(), cf.Task{Resource: p.resource(), AppGUID: p.app, Command: "x"})
	p.must(err)
	other.pass(1)
	theirs := p.nomad.All(jobs.TaskID(task.GUID))[0].ID

	s := p.specs()
	for what, ask := range map[string][5]string{
		"an allocation elsewhere":           {"n2", mine, jobs.KindApp, web, "v1"},
		"another version":                   {"n1", mine, jobs.KindApp, web, "v2"},
		"another process":                   {"n1", mine, jobs.KindApp, task.GUID, "v1"},
		"a task with a process' allocation": {"n1", mine, jobs.KindTask, task.GUID, ""},
		"a process with a task's":           {"n2", theirs, jobs.KindApp, web, "v1"},
		"an allocation that is none":        {"n1", "x", jobs.KindApp, web, "v1"},
	} {
		if _, err := s.Instance(t.Context(), ask[0], ask[1], ask[2], ask[3], ask[4]); !errors.Is(err, rpcerr.Denied) {
			t.Errorf("%s: %v, want it refused", what, err)
		}
	}
	if _, err := s.Instance(t.Context(), "n1", mine, "staging", web, "v1"); !errors.Is(err, rpcerr.Invalid) {
		t.Errorf("unknown kind: %v", err)
	}
	for node, want := range map[string]error{"n1": nil, "n2": nil, "n3": rpcerr.Denied} {
		r, _, err := s.Droplet(t.Context(), node, digest)
		if !errors.Is(err, want) {
			t.Errorf("droplet for %s: %v, want %v", node, err, want)
		}
		if err == nil {
			r.Close()
		}
	}
	for _, digest := range []string{"", strings.Repeat("a", 64)} {
		if _, _, err := s.Droplet(t.Context(), "n1", digest); !errors.Is(err, rpcerr.Denied) {
			t.Errorf("blob %q: %v, want it refused", digest, err)
		}
	}
	p.stop()
	p.pass(1)
	if _, _, err := s.Droplet(t.Context(), "n1", digest); !errors.Is(err, rpcerr.Denied) {
		t.Errorf("droplet after the end: %v, want it refused", err)
	}
}

func TestExplain(t *testing.T) {
	for want, u := range map[string]deploy.Unplaced{
		`No DEA has enough room: memory is used up on 1 node.`:             {Nodes: 2, Filtered: 1, Exhausted: 1, Dimensions: map[string]int{"memory": 1}},
		`No DEA has enough room: cpu and memory are used up on 3 nodes.`:   {Exhausted: 3, Dimensions: map[string]int{"memory": 1, "cpu": 2}},
		`No DEA is in the placement zone "gold". Zones that exist: a, b.`:  {Nodes: 2, Filtered: 2, Constraints: map[string]int{"placement_zone_gold": 1, "role_dea": 1}},
		`No DEA in the placement zone "b" is up, or the only one has just`: {Nodes: 2, Filtered: 2, Constraints: map[string]int{"placement_zone_b": 2}},
		`No DEA is in the placement zone "c". Zones that exist: a, b.`:     {Nodes: 1, Filtered: 1, Constraints: map[string]int{"computed class ineligible": 1}, Image: "w:1", Zone: "c"},
		`No DEA that may take it has the image x:1, which the stack is, verified. n1 has none; n2 has w:1 and w:2. An operator must load it`: {
			Nodes: 1, Filtered: 1, Constraints: map[string]int{"stack_x_1": 1}, Image: "x:1",
		},
		`No DEA has enough room: memory is used up on 1 node. Ask for less, stop something, or add a DEA. ` +
			`These could not take it in any case, because they lack the image w:1: n1.`: {
			Nodes: 2, Filtered: 1, Exhausted: 1, Constraints: map[string]int{"stack_w_1": 1}, Image: "w:1", Dimensions: map[string]int{"memory": 1},
		},
		`No DEA is there: give a node the role dea`:       {Nodes: 1, Filtered: 1, Constraints: map[string]int{"role_dea": 1}},
		`No DEA can take it: 2 nodes lack what it needs.`: {Nodes: 2, Filtered: 2, Constraints: map[string]int{"missing host volume": 2}},
	} {
		if got := u.Explain([]string{"b", "a"}, map[string][]string{"n1": {}, "n2": {"w:1", "w:2"}}); !strings.HasPrefix(got, want) {
			t.Errorf("%+v: %q, want %q", u, got, want)
		}
	}
}

// down answers for one job.
type down struct {
	unplaced *deploy.Unplaced
	allocs   []deploy.Alloc
}

func (d down) Unplaced(context.Context, string) (*deploy.Unplaced, error)  { return d.unplaced, nil }
func (d down) Allocations(context.Context, string) ([]deploy.Alloc, error) { return d.allocs, nil }

// TestWhyDown: an instance that has a place and no container is explained too.
func TestWhyDown(t *testing.T) {
	const pull = "Failed to pull `x:1`: no such host"
	stuck := deploy.Alloc{State: deploy.AllocPending, Reason: pull}
	old, stopping := stuck, stuck
	old.State, stopping.Stopping = deploy.AllocComplete, true
	for name, tt := range map[string]struct {
		down
		want string
	}{
		"no place":       {down{&deploy.Unplaced{}, []deploy.Alloc{stuck}}, "No DEA is there"},
		"no image":       {down{nil, []deploy.Alloc{old, stuck}}, "The container cannot be started: " + pull + ". An operator must load the image on that DEA (docker load)"},
		"something else": {down{nil, []deploy.Alloc{{State: deploy.AllocFailed, Reason: "it broke."}}}, "The container cannot be started: it broke."},
		"all is well":    {down{nil, []deploy.Alloc{{State: deploy.AllocPending}, old, stopping}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := deploy.WhyDown(t.Context(), tt.down, "job", nil, nil)
			if err != nil || !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
		})
	}
}
