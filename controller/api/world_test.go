package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
)

// world is a cloud with one of everything.
type world struct {
	*cloud
	org, space, domain, private, app, route, orgQuota, spaceQuota string
	role                                                          string // the developer's
}

// data is {"data": {"guid": guid}}.
func data(guid string) any { return map[string]any{"data": map[string]any{"guid": guid}} }

// rel is a body with relationships beside other fields.
func rel(fields map[string]any, relationships map[string]any) map[string]any {
	out := map[string]any{"relationships": relationships}
	for k, v := range fields {
		out[k] = v
	}
	return out
}

// roleUsers are the users of a world: each has the role it is called after,
// and organization_user if it is a space's.
var roleUsers = []string{
	"organization_user", "organization_auditor", "organization_billing_manager", "organization_manager",
	"space_auditor", "space_supporter", "space_developer", "space_manager",
}

// login makes a user of the log-in service, as its token says.
func (c *cloud) login(name string) {
	c.t.Helper()
	u := cf.User{UserName: name, Origin: "uaa"}
	u.GUID = name + "-guid"
	if err := c.store.CreateUser(c.t.Context(), u); err != nil {
		c.t.Fatal(err)
	}
}

// newOrg and newSpace return the GUID.
func (c *cloud) newOrg(name string) string {
	c.t.Helper()
	return c.admin("POST", "/v3/organizations", map[string]any{"name": name}).want(http.StatusCreated).guid()
}

func (c *cloud) newSpace(org, name string) string {
	c.t.Helper()
	return c.admin("POST", "/v3/spaces", rel(map[string]any{"name": name}, map[string]any{"organization": data(org)})).want(http.StatusCreated).guid()
}

func (c *cloud) newApp(space, name string) string {
	c.t.Helper()
	return c.admin("POST", "/v3/apps", rel(map[string]any{"name": name}, map[string]any{"space": data(space)})).want(http.StatusCreated).guid()
}

// newRoute returns the answer.
func (c *cloud) newRoute(space, domain, host, path string) answer {
	c.t.Helper()
	return c.admin("POST", "/v3/routes", rel(map[string]any{"host": host, "path": path}, map[string]any{"space": data(space), "domain": data(domain)}))
}

// grant gives a user a role in an organization or a space.
func (c *cloud) grant(user, role, where string) answer {
	c.t.Helper()
	place := "organization"
	if auth.Parse(role).IsSpace() {
		place = "space"
	}
	return c.admin("POST", "/v3/roles", rel(map[string]any{"type": role}, map[string]any{"user": data(user + "-guid"), place: data(where)}))
}

// seeded is a cloud as it begins.
func seeded(t *testing.T, change ...func(*Config)) *cloud {
	t.Helper()
	c := newCloud(t, change...)
	if err := c.api.Seed(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cloud) sharedDomain() string {
	c.t.Helper()
	return c.admin("GET", "/v3/domains?names="+c.api.Domain, nil).want(http.StatusOK).get("resources.0.guid")
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{cloud: seeded(t)}
	w.org = w.newOrg("acme")
	w.space = w.newSpace(w.org, "dev")
	w.domain = w.sharedDomain()
	w.private = w.admin("POST", "/v3/domains", rel(map[string]any{"name": "acme.test"}, map[string]any{"organization": data(w.org)})).want(http.StatusCreated).guid()
	w.app = w.newApp(w.space, "shop")
	w.route = w.newRoute(w.space, w.domain, "shop", "").want(http.StatusCreated).guid()
	w.orgQuota = w.admin("POST", "/v3/organization_quotas", map[string]any{"name": "small"}).want(http.StatusCreated).guid()
	w.spaceQuota = w.admin("POST", "/v3/space_quotas", rel(map[string]any{"name": "tiny"}, map[string]any{"organization": data(w.org), "spaces": map[string]any{"data": []any{map[string]any{"guid": w.space}}}})).want(http.StatusCreated).guid()
	w.admin("POST", "/v3/organization_quotas/"+w.orgQuota+"/relationships/organizations", map[string]any{"data": []any{map[string]any{"guid": w.org}}}).want(http.StatusOK)
	for _, u := range append([]string{"stranger"}, roleUsers...) {
		w.login(u)
	}
	for _, u := range roleUsers {
		if auth.Parse(u).IsOrg() {
			w.grant(u, u, w.org).want(http.StatusCreated)
			continue
		}
		w.grant(u, "organization_user", w.org).want(http.StatusCreated)
		role := w.grant(u, u, w.space).want(http.StatusCreated).guid()
		if u == "space_developer" {
			w.role = role
		}
	}
	return w
}

// fill replaces {org} and the like.
func (w *world) fill(text string) string {
	for k, v := range map[string]string{
		"org": w.org, "space": w.space, "domain": w.domain, "private": w.private, "app": w.app, "route": w.route,
		"orgquota": w.orgQuota, "spacequota": w.spaceQuota, "role": w.role,
	} {
		text = strings.ReplaceAll(text, "{"+k+"}", v)
	}
	return text
}

// mustHave fails unless a list's field has exactly these values.
func (a answer) mustHave(field, want string) {
	a.t.Helper()
	if got := a.want(http.StatusOK).names(field); got != want {
		a.t.Errorf("%s: %s is %q, want %q", a.what, field, got, want)
	}
}
