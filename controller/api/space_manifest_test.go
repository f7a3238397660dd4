package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

const apply = "/v3/spaces/dev-space/actions/apply_manifest"

// TestRefusedManifests: a manifest is applied as a whole or not at all.
func TestRefusedManifests(t *testing.T) {
	p := newServer(t)
	c := p.cloud()
	other := c.newApp("other-space", "taken")
	domain := c.admin("GET", "/v3/domains?names=stackato.test", nil).get("resources.0.guid")
	c.newRoute("other-space", domain, "taken", "").want(http.StatusCreated)
	before := p.dump()
	for _, tt := range []struct{ name, manifest, want string }{
		{"no YAML", "applications: [", "Request invalid due to parse error: the manifest is not valid YAML"},
		{"impossible value", "applications: [{name: a}, {name: b, memory: -1M}]", "For application 'b': Process \"web\": Memory must be greater than 0MB (field memory)"},
		{"host of another space", "applications: [{name: a, routes: [{route: taken.stackato.test}]}]", "For application 'a': The route 'taken.stackato.test' belongs to another space (field routes)"},
		{"host below another space's host", "applications: [{name: a, routes: [{route: taken.stackato.test/x}]}]", "Routes for this host and domain have been reserved for another space."},
		{"default route of another space", "applications: [{name: taken, default-route: true}]", "belongs to another space"},
		{"system host", "applications: [{name: a, routes: [{route: login.stackato.test}]}]", "Route conflicts with a reserved system route."},
		{"unknown domain", "applications: [{name: a, routes: [{route: a.example.org}]}]", "The route 'a.example.org' did not match any existing domains."},
		{"TCP", "applications: [{name: a, routes: [{route: 'a.stackato.test:1234'}]}]", "TCP routes are not supported yet"},
		{"unknown service", "applications: [{name: a, services: [db]}]", "For application 'a': Service instance 'db' not found (field services)"},
		{"unknown buildpack", "applications: [{name: a, buildpacks: [cobol]}]", `Buildpack "cobol" must be an existing admin buildpack or a valid git URI`},
		{"internal buildpack", "applications: [{name: a, buildpacks: ['http://10.0.0.1/x']}]", "must be an existing admin buildpack or a valid git URI"},
		{"unknown stack", "applications: [{name: a, stack: windows}]", "Stack must be an existing stack"},
		{"image", "applications: [{name: a, docker: {image: nginx}}]", "Docker images and Cloud Native Buildpacks are not supported yet"},
		{"reserved variable", "applications: [{name: a, env: {VCAP_SERVICES: x}}]", "Environment variables cannot start with VCAP_"},
		{"port", "applications: [{name: a, env: {PORT: 1}}]", "Environment variables cannot set PORT"},
		{"too much disk", "applications: [{name: a, disk_quota: 100G}]", "Disk in mb must be at most 10240 (field disk_quota)"},
		{"zone", "applications: [{name: a, stackato: {placement-zone: 'a b'}}]", "Placement zone must be"},
		{"second app", "applications: [{name: a}, {name: b, stack: windows}]", "For application 'b': Stack must be an existing stack"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := c.as("dev", "POST", apply, tt.manifest)
			if got.status/100 != 4 || !strings.Contains(got.get("errors.0.detail"), tt.want) {
				t.Errorf("%d %s, want %q", got.status, got.body, tt.want)
			}
			if d := cmp.Diff(string(before), string(p.dump())); d != "" {
				t.Errorf("the state changed:\n%s", d)
			}
		})
	}
	c.as("dev", "GET", "/v3/apps/"+other, nil).fails(cf.ErrNotFound, "App not found")
}

func TestManifestOverQuotaChangesNothing(t *testing.T) {
	p := newServer(t)
	c := p.cloud()
	most, at := 300, p.api.Now()
	quota := cf.Quota{Resource: cf.Resource{GUID: "q", CreatedAt: at}, Name: "q", OrgGUID: "acme-guid", Limits: cf.Limits{InstanceMemoryMB: &most}}
	if err := p.store.CreateQuota(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	if err := p.store.AssignQuota(t.Context(), state.QuotaAssignment{GUID: "q", Spaces: []string{"dev-space"}, At: at}); err != nil {
		t.Fatal(err)
	}
	got := c.as("dev", "POST", apply, "applications: [{name: a}, {name: b, memory: 1G}]")
	got.fails(cf.ErrUnprocessable, "memory space_instance_memory_limit_exceeded: an instance in space 'dev' may have 300M, asked for are 1024M")
	if apps := p.store.Local().Apps(); len(apps) != 0 {
		t.Errorf("apps are left: %+v", apps)
	}
}

func TestManifestDiff(t *testing.T) {
	c := newServer(t).cloud()
	c.job(c.as("dev", "POST", apply, "applications: [{name: a, memory: 1G, env: {A: x}, routes: [{route: a.stackato.test}], processes: [{type: worker, instances: 1}]}]"))
	for _, tt := range []struct{ manifest, want string }{
		{"applications: [{name: a, memory: 1024M, env: {A: x}}]", "[]"},
		{"applications: [{name: a, memory: 2G}]", `[{"op":"replace","path":"/applications/0/memory","value":"2G","was":"1024M"}]`},
		{"applications: [{name: a, env: {A: x, B: y}}]", `[{"op":"add","path":"/applications/0/env/B","value":"y"}]`},
		{"applications: [{name: a, routes: [{route: b.stackato.test}]}]", `[{"op":"add","path":"/applications/0/routes/0","value":{"route":"b.stackato.test"}}]`},
		{"applications: [{name: a, processes: [{type: worker, instances: 2}]}]", `[{"op":"replace","path":"/applications/0/processes/0/instances","value":2,"was":1}]`},
		{"applications: [{name: new, path: .}]", `[{"op":"add","path":"/applications/0/name","value":"new"}]`},
	} {
		if got := c.as("dev", "POST", "/v3/spaces/dev-space/manifest_diff", tt.manifest).want(http.StatusCreated).get("diff"); got != tt.want {
			t.Errorf("%s\n got %s\nwant %s", tt.manifest, got, tt.want)
		}
	}
}

// TestUnknownProcessIsNotStarted: a manifest can name a process that the
// droplet turns out not to have.
func TestUnknownProcessIsNotStarted(t *testing.T) {
	w := newAppWorld(t)
	w.job(w.admin("POST", apply, "applications: [{name: shop, processes: [{type: clock, instances: 1}]}]"))
	w.admin("POST", "/v3/apps/"+w.guid["app"]+"/actions/restart", nil).
		fails(cf.ErrUnprocessable, "Start command not specified: the droplet has none for the process 'clock'. Give the process a command, or scale it to 0 instances.")
}

func TestHostsOfNames(t *testing.T) {
	for name, want := range map[string]string{
		"app": "app", "My App_1.x": "my-app-1-x", "-é-": "", strings.Repeat("a", 70): strings.Repeat("a", 63),
	} {
		if got := normalHost(name); got != want {
			t.Errorf("host of %q is %q, want %q", name, got, want)
		}
		if got := randomHost(normalHost(name)); len(got) > 63 || addressProblems(got, "") != nil {
			t.Errorf("random host %q of %q", got, name)
		}
	}
}
