package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

// refusal is a request and what is said to it, by an administrator unless
// named.
type refusal struct {
	name, user, method, path, body string
	want                           *cf.Error
	detail                         string
}

// refused sends each request.
func (w *world) refused(t *testing.T, table []refusal) {
	t.Helper()
	for _, tt := range table {
		t.Run(tt.name, func(t *testing.T) {
			user := tt.user
			if user == "" {
				user = "admin"
			}
			a := w.as(user, tt.method, w.fill(tt.path), w.fill(tt.body))
			a.t = t
			a.fails(tt.want, w.fill(tt.detail))
		})
	}
}

// rows counts what the tests make.
func (w *world) rows() string {
	v := w.store.Local()
	return fmt.Sprint(len(v.Organizations()), len(v.Spaces()), len(v.Roles()), len(v.Domains()), len(v.Routes()), len(v.Destinations()), len(v.Quotas()), len(v.Buildpacks()), len(v.CloudUsers()))
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	other := w.newSpace(w.org, "other")
	otherApp := w.newApp(other, "thief")
	rows := w.rows()
	toSpace := `"relationships":{"space":{"data":{"guid":"{space}"}},"domain":{"data":{"guid":"{domain}"}}}`
	toOther := strings.ReplaceAll(toSpace, "{space}", other)
	user := `"user":{"data":{"guid":"space_developer-guid"}}`
	bad, query := cf.ErrUnprocessable, cf.ErrBadQuery
	w.refused(t, []refusal{
		{"taken organization", "", "POST", "/v3/organizations", `{"name":"ACME"}`, bad, "Organization 'ACME' already exists."},
		{"organization without a name", "", "POST", "/v3/organizations", `{}`, bad, "Name can't be blank"},
		{"long name", "", "POST", "/v3/organizations", `{"name":"` + strings.Repeat("x", 256) + `"}`, bad, "Name is too long (maximum is 255 characters)"},
		{"unknown field", "", "POST", "/v3/organizations", `{"name":"x","colour":"red"}`, bad, "Unknown field(s): 'colour'"},
		{"no JSON", "", "POST", "/v3/organizations", `name: x`, cf.ErrMessageParse, ""},
		{"organization that is not there", "", "GET", "/v3/organizations/nothing", "", cf.ErrNotFound, "Organization not found"},

		{"taken space", "", "POST", "/v3/spaces", `{"name":"dev","relationships":{"organization":{"data":{"guid":"{org}"}}}}`, bad, "Name must be unique per organization"},
		{"space of no organization", "", "POST", "/v3/spaces", `{"name":"x","relationships":{"organization":{"data":{"guid":"nothing"}}}}`, bad, "Invalid organization. Ensure the organization exists and you have access to it."},

		{"role twice", "", "POST", "/v3/roles", `{"type":"space_developer","relationships":{` + user + `,"space":{"data":{"guid":"{space}"}}}}`, bad, "User 'space_developer' already has 'space_developer' role in space 'dev'."},
		{"organization role twice", "", "POST", "/v3/roles", `{"type":"organization_user","relationships":{` + user + `,"organization":{"data":{"guid":"{org}"}}}}`, bad, "User 'space_developer' already has 'organization_user' role in organization 'acme'."},
		{"role of a stranger in a space", "", "POST", "/v3/roles", `{"type":"space_developer","relationships":{"user":{"data":{"guid":"stranger-guid"}},"space":{"data":{"guid":"{space}"}}}}`, bad, "Users cannot be assigned roles in a space if they do not have a role in that space's organization."},
		{"role of nobody", "", "POST", "/v3/roles", `{"type":"organization_user","relationships":{"user":{"data":{"guid":"nobody"}},"organization":{"data":{"guid":"{org}"}}}}`, bad, "Invalid user. Ensure that the user exists and you have access to it."},
		{"role of an unknown name", "", "POST", "/v3/roles", `{"type":"organization_user","relationships":{"user":{"data":{"username":"nobody"}},"organization":{"data":{"guid":"{org}"}}}}`, bad, "No user exists with the username 'nobody'."},
		{"role of another origin", "", "POST", "/v3/roles", `{"type":"organization_user","relationships":{"user":{"data":{"username":"stranger","origin":"ldap"}},"organization":{"data":{"guid":"{org}"}}}}`, bad, "No user exists with the username 'stranger' and origin 'ldap'."},
		{"role in the wrong place", "", "POST", "/v3/roles", `{"type":"space_developer","relationships":{` + user + `,"organization":{"data":{"guid":"{org}"}}}}`, bad, "Role with type 'space_developer' must be associated with a space."},
		{"unknown role", "", "POST", "/v3/roles", `{"type":"admin","relationships":{` + user + `,"organization":{"data":{"guid":"{org}"}}}}`, bad, ""},

		{"taken route", "", "POST", "/v3/routes", `{"host":"shop",` + toSpace + `}`, bad, "Route already exists with host 'shop' for domain 'stackato.test'."},
		{"taken host in capitals", "", "POST", "/v3/routes", `{"host":"SHOP",` + toSpace + `}`, bad, "Route already exists with host 'shop' for domain 'stackato.test'."},
		{"host of another space", "", "POST", "/v3/routes", `{"host":"shop","path":"/x",` + toOther + `}`, bad, "Routes for this host and domain have been reserved for another space."},
		{"no host in a shared domain", "", "POST", "/v3/routes", `{` + toSpace + `}`, bad, "Missing host. Routes in shared domains must have a host defined."},
		{"bad host", "", "POST", "/v3/routes", `{"host":"a.b",` + toSpace + `}`, bad, "Host must be either \"*\" or contain only alphanumeric characters, \"_\", or \"-\""},
		{"path with a question mark", "", "POST", "/v3/routes", `{"host":"a","path":"/b?c",` + toSpace + `}`, bad, "Path cannot contain a question mark"},
		{"path without a slash", "", "POST", "/v3/routes", `{"host":"a","path":"b",` + toSpace + `}`, bad, "Path must start with a '/'"},
		{"port", "", "POST", "/v3/routes", `{"port":1024,` + toSpace + `}`, bad, "Port cannot be set: TCP routes are not there yet"},
		{"bad option", "", "POST", "/v3/routes", `{"host":"a","options":{"loadbalancing":"dice"},` + toSpace + `}`, bad, "Options Loadbalancing must be one of 'round-robin, least-connection' if present"},
		{"app of another space", "", "POST", "/v3/routes/{route}/destinations", `{"destinations":[{"app":{"guid":"` + otherApp + `"}}]}`, bad, "Routes destinations must be in either the route's space or the route's shared spaces"},
		{"app that is not there", "", "POST", "/v3/routes/{route}/destinations", `{"destinations":[{"app":{"guid":"nothing"}}]}`, bad, "App(s) with guid(s) \"nothing\" do not exist or you do not have access."},
		{"destination that is not there", "", "DELETE", "/v3/routes/{route}/destinations/nothing", "", bad, "Unable to unmap route from destination. Ensure the route has a destination with this guid."},
		{"mass deletion of routes", "", "DELETE", "/v3/spaces/{space}/routes", "", bad, "Mass delete not supported for routes. Use 'unmapped' parameter to delete all unmapped routes."},

		{"taken domain", "", "POST", "/v3/domains", `{"name":"acme.test"}`, bad, `The domain name "acme.test" is already in use`},
		{"domain below another owner's", "", "POST", "/v3/domains", `{"name":"www.acme.test"}`, bad, `The domain name "www.acme.test" cannot be created because "acme.test" is already reserved by another domain`},
		{"domain that is a route", "", "POST", "/v3/domains", `{"name":"shop.stackato.test"}`, bad, `The domain name "shop.stackato.test" cannot be created because "shop.stackato.test" is already reserved by a route`},
		{"private domain below the cluster's", "", "POST", "/v3/domains", `{"name":"x.stackato.test","relationships":{"organization":{"data":{"guid":"{org}"}}}}`, bad, `The "x.stackato.test" domain is reserved and cannot be used for org-scoped domains.`},
		{"domain of the platform", "", "POST", "/v3/domains", `{"name":"api.stackato.test"}`, bad, `The domain name "api.stackato.test" is reserved for the platform`},
		{"internal domain", "", "POST", "/v3/domains", `{"name":"x.internal","internal":true}`, bad, "Internal domains are not there yet: apps reach each other through their routes"},
		{"domain of one label", "", "POST", "/v3/domains", `{"name":"local"}`, bad, `Name must contain at least one "."`},
		{"domain with an underscore", "", "POST", "/v3/domains", `{"name":"a_b.test"}`, bad, "Name does not comply with RFC 1035 standards: each part has letters, digits and hyphens, up to 63 characters"},

		{"taken quota", "", "POST", "/v3/organization_quotas", `{"name":"small"}`, bad, "Organization Quota 'small' already exists."},
		{"taken space quota", "", "POST", "/v3/space_quotas", `{"name":"tiny","relationships":{"organization":{"data":{"guid":"{org}"}}}}`, bad, "Space Quota 'tiny' already exists."},
		{"quota in use", "", "DELETE", "/v3/organization_quotas/{orgquota}", "", bad, "This quota is applied to one or more organizations. Apply different quotas to those organizations before deleting."},
		{"negative limit", "", "POST", "/v3/organization_quotas", `{"name":"x","routes":{"total_routes":-1}}`, bad, "Total routes must be greater than or equal to 0 and less than 2147483648"},
		{"space quota as organization quota", "", "GET", "/v3/organization_quotas/{spacequota}", "", cf.ErrNotFound, "Organization quota not found"},

		{"taken buildpack", "", "POST", "/v3/buildpacks", `{"name":"go_buildpack"}`, bad, "Buildpack with name 'go_buildpack' and an unassigned stack already exists"},
		{"buildpack of an unknown stack", "", "POST", "/v3/buildpacks", `{"name":"x","stack":"windows"}`, bad, "Stack 'windows' does not exist"},
		{"buildpack with a bad name", "", "POST", "/v3/buildpacks", `{"name":"a b"}`, bad, "Name can only contain alphanumeric characters, underscores, and hyphens"},
		{"unknown flag", "", "GET", "/v3/feature_flags/nothing", "", cf.ErrNotFound, "Feature flag not found"},
		{"variable of the platform", "", "PATCH", "/v3/environment_variable_groups/running", `{"var":{"VCAP_X":"1"}}`, bad, "Var 'VCAP_X' is set by the platform"},
		{"user twice", "", "POST", "/v3/users", `{"guid":"space_developer-guid"}`, bad, "User with guid 'space_developer-guid' already exists."},
		{"origins alone", "", "GET", "/v3/users?origins=uaa", "", query, "The query parameter is invalid: Origins filter cannot be provided without usernames or partial_usernames filter."},
		{"isolation segment", "", "POST", "/v3/isolation_segments", `{"name":"x"}`, cf.ErrNotImplemented, "Isolation segments are not there yet."},
		{"security group", "", "PATCH", "/v3/security_groups/x", `{}`, cf.ErrNotImplemented, "Security groups are not there yet."},
	})
	if got := w.rows(); got != rows {
		t.Errorf("refused requests left something: %s, before %s", got, rows)
	}
}

func TestNetworkPoliciesAreRefusedAsTheirClientsReadIt(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/networking/v1/external/policies", "/networking/v1/external/policies/delete"} {
		a := w.admin("POST", path, map[string]any{"policies": []any{}})
		a.want(400)
		if got, want := a.get("error"), "Network policies are not there yet: apps reach each other through their routes."; got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestReservedHosts(t *testing.T) {
	w := newWorld(t)
	for _, host := range []string{"api", "login", "uaa", "log-cache", "console", "ssh", "*", "API"} {
		w.newRoute(w.space, w.domain, host, "").fails(cf.ErrUnprocessable, "Route conflicts with a reserved system route.")
	}
	w.newRoute(w.space, w.private, "api", "").want(201)
	w.newRoute(w.space, w.private, "*", "").want(201)
	w.newRoute(w.space, w.private, "", "").want(201)
}

func TestOrganizationUserRoleIsKeptWhileInASpace(t *testing.T) {
	w := newWorld(t)
	role := w.admin("GET", "/v3/roles?types=organization_user&user_guids=space_developer-guid", nil).get("resources.0.guid")
	w.admin("DELETE", "/v3/roles/"+role, nil).fails(cf.ErrUnprocessable, "Cannot delete organization_user role while user has roles in spaces in that organization.")
	w.admin("DELETE", "/v3/roles/"+w.role, nil).want(202)
	w.admin("DELETE", "/v3/roles/"+role, nil).want(202)
	w.as("space_developer", "GET", "/v3/organizations/"+w.org, nil).want(404)
}

func TestUserOrgCreation(t *testing.T) {
	w := newWorld(t)
	w.admin("PATCH", "/v3/feature_flags/user_org_creation", `{"enabled":true}`).want(200)
	org := w.as("stranger", "POST", "/v3/organizations", `{"name":"mine"}`).want(201).guid()
	w.as("stranger", "PATCH", "/v3/organizations/"+org, `{"name":"ours"}`).want(200)
}

func TestRouteCreationFlag(t *testing.T) {
	w := newWorld(t)
	w.admin("PATCH", "/v3/feature_flags/route_creation", `{"enabled":false,"custom_error_message":"ask us"}`).want(200)
	body := w.fill(`{"host":"x","relationships":{"space":{"data":{"guid":"{space}"}},"domain":{"data":{"guid":"{domain}"}}}}`)
	w.as("space_developer", "POST", "/v3/routes", body).fails(&cf.Error{Status: 403, Title: "CF-FeatureDisabled"}, "Feature Disabled: ask us")
	w.admin("POST", "/v3/routes", body).want(201)
}

// runJobs runs the Primary's part until the test ends.
func (c *cloud) runJobs() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.api.RunJobs(ctx, 0) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			c.t.Errorf("RunJobs: %v", err)
		}
		done <- nil
	}
	c.t.Cleanup(stop)
	return stop
}

// finished waits for the end of the answer's job.
func (c *cloud) finished(a answer) answer {
	c.t.Helper()
	guid := c.job(a).guid()
	c.awaitJob(guid)
	return c.job(a)
}

func (c *cloud) awaitJob(guid string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	err := awaitState(ctx, c.store, func(v *state.View) bool {
		j, found := v.Job(guid)
		return found && j.State != cf.JobProcessing
	})
	if err != nil {
		c.t.Fatalf("job %s does not end: %v", guid, err)
	}
}

func TestDeleteOrganization(t *testing.T) {
	w := newWorld(t)
	for i := range 45 { // more than two steps remove
		w.newApp(w.space, fmt.Sprintf("app%d", i))
	}
	w.newSpace(w.org, "second")
	w.admin("POST", "/v3/routes/"+w.route+"/destinations", w.fill(`{"destinations":[{"app":{"guid":"{app}"}}]}`)).want(200)
	keep := w.newSpace(w.newOrg("keep"), "dev")
	w.newRoute(keep, w.domain, "keep", "").want(201)

	deleted := w.admin("DELETE", "/v3/organizations/"+w.org+"/", nil).want(202)
	if got := w.job(deleted).get("state"); got != cf.JobProcessing {
		t.Fatalf("state %s before anybody works", got)
	}
	w.runJobs()
	j := w.finished(deleted)
	if j.get("state") != cf.JobComplete || j.get("operation") != "organization.delete" {
		t.Fatalf("job %s", j.body)
	}
	w.admin("GET", "/v3/organizations/"+w.org, nil).fails(cf.ErrNotFound, "Organization not found")
	w.admin("GET", "/v3/apps", nil).mustHave("name", "")
	w.admin("GET", "/v3/routes", nil).mustHave("host", "keep")
	w.admin("GET", "/v3/domains", nil).mustHave("name", "stackato.test")
	w.admin("GET", "/v3/spaces", nil).mustHave("name", "dev")
	w.admin("GET", "/v3/roles", nil).mustHave("type", "")
	w.admin("GET", "/v3/space_quotas", nil).mustHave("name", "")
	if n := len(w.store.Local().Destinations()); n != 0 {
		t.Errorf("%d destinations are left", n)
	}
	if n := len(w.store.Local().Processes()); n != 0 {
		t.Errorf("%d processes are left", n)
	}
}

func TestJobsGoOnWithTheNextPrimary(t *testing.T) {
	w := newWorld(t)
	w.runJobs()()
	first := w.admin("DELETE", "/v3/spaces/"+w.space, nil).want(202)
	unknown := cf.Job{Resource: cf.Resource{GUID: "unknown", CreatedAt: w.clock.read()}, Operation: "moon.launch", State: cf.JobProcessing}
	if err := w.store.CreateJob(t.Context(), unknown); err != nil {
		t.Fatal(err)
	}
	w.runJobs()
	if j := w.finished(first); j.get("state") != cf.JobComplete {
		t.Errorf("job %s", j.body)
	}
	w.awaitJob("unknown")
	if got := w.admin("GET", "/v3/jobs/unknown", nil); got.get("state") != cf.JobFailed || got.get("errors.0.detail") == "" {
		t.Errorf("an unknown job must fail with a reason: %s", got.body)
	}
}

func TestSharedDomainKeepsItsOrganization(t *testing.T) {
	w := newWorld(t)
	other := w.newOrg("other")
	share := "/v3/domains/" + w.private + "/relationships/shared_organizations"
	w.admin("POST", share, map[string]any{"data": []any{map[string]any{"guid": other}}}).want(200)
	w.admin("DELETE", "/v3/organizations/"+w.org, nil).fails(cf.ErrUnprocessable, "Domain 'acme.test' is shared with other organizations. Unshare before deleting.")
	space := w.newSpace(other, "dev")
	w.newRoute(space, w.private, "x", "").want(201)
	w.admin("DELETE", share+"/"+other, nil).fails(cf.ErrUnprocessable, "")
	w.admin("GET", "/v3/organizations/"+other+"/domains", nil).mustHave("name", "stackato.test acme.test")
	third := w.newSpace(w.newOrg("third"), "dev")
	w.newRoute(third, w.private, "y", "").fails(cf.ErrUnprocessable, "Invalid domain. Domain 'acme.test' is not available in organization 'third'.")
}

func TestQuotaIsMadeAndGivenAtOnce(t *testing.T) {
	w := newWorld(t)
	with := func(space string) string {
		return w.fill(`{"name":"new","relationships":{"organization":{"data":{"guid":"{org}"}},"spaces":{"data":[{"guid":"` + space + `"}]}}}`)
	}
	w.admin("POST", "/v3/space_quotas", with("nothing")).fails(cf.ErrUnprocessable, "")
	a := w.admin("POST", "/v3/space_quotas", with(w.space)).want(201)
	if got := a.get("relationships.spaces.data.0.guid"); got != w.space {
		t.Errorf("given to %q: %s", got, a.body)
	}
	if got := w.admin("GET", "/v3/spaces/"+w.space, nil).get("relationships.quota.data.guid"); got != a.guid() {
		t.Errorf("the space has quota %q, want %s", got, a.guid())
	}
}

func TestAuditEvents(t *testing.T) {
	w := newWorld(t)
	w.as("space_developer", "PATCH", "/v3/routes/"+w.route, `{"metadata":{"labels":{"a":"b"}}}`).want(200)
	a := w.as("space_auditor", "GET", "/v3/audit_events?target_guids="+w.route+"&order_by=-created_at&page=1", nil)
	a.mustHave("type", "audit.route.update audit.route.create")
	for path, want := range map[string]string{
		"resources.0.actor.name": "space_developer", "resources.0.actor.type": "user", "resources.0.target.name": "shop.stackato.test",
		"resources.0.space.guid": w.space, "resources.0.organization.guid": w.org, "resources.1.data.host": "shop",
	} {
		if got := a.get(path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	w.as("space_manager", "GET", "/v3/audit_events", nil).mustHave("type", "")
	before := len(w.store.Local().AuditEvents())
	w.admin("POST", "/v3/organizations", `{"name":"acme"}`).want(422)
	if got := len(w.store.Local().AuditEvents()); got != before {
		t.Error("a refused command wrote an event")
	}
}

func TestIncludes(t *testing.T) {
	w := newWorld(t)
	a := w.admin("GET", "/v3/roles?include=user,organization,space&space_guids="+w.space+"&types=space_developer", nil).want(200)
	for path, want := range map[string]string{
		"included.users.0.username": "space_developer", "included.users.0.presentation_name": "space_developer",
		"included.users.0.origin": "uaa", "included.spaces.0.name": "dev",
	} {
		if got := a.get(path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	a = w.admin("GET", "/v3/routes?include=domain,space.organization", nil).want(200)
	if a.get("included.domains.0.name") != "stackato.test" || a.get("included.organizations.0.name") != "acme" {
		t.Errorf("included: %s", a.body)
	}
	if got := w.admin("GET", "/v3/spaces?include=organization", nil).get("included.organizations.0.name"); got != "acme" {
		t.Errorf("included organization %q", got)
	}
}

func TestSeedIsPlantedOnce(t *testing.T) {
	c := seeded(t)
	guid := c.admin("GET", "/v3/buildpacks?names=go_buildpack", nil).get("resources.0.guid")
	c.admin("DELETE", "/v3/buildpacks/"+guid, nil).want(202)
	if err := c.api.Seed(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.admin("GET", "/v3/buildpacks", nil).mustHave("name", "staticfile_buildpack nodejs_buildpack python_buildpack binary_buildpack")
	c.admin("GET", "/v3/buildpacks", nil).mustHave("position", "1 2 3 4")
	c.admin("GET", "/v3/domains", nil).mustHave("name", "stackato.test")
	c.admin("GET", "/v3/stacks", nil).mustHave("name", "stackato")
}
