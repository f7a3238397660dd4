package api

import (
	"strconv"
	"strings"
	"testing"
)

// TestPermissionTable sends each request as each kind of user, on a world of
// its own. What a user does not see is 404 (422 where a body names it), what
// they see but may not change is 403.
func TestPermissionTable(t *testing.T) {
	users := append([]string{"admin", "global-auditor", "stranger"}, roleUsers...)
	//                       admin gaud none | oUsr oAud oBil oMan | sAud sSup sDev sMan
	table := []struct {
		request, body, want string
	}{
		{"GET /v3/organizations/{org}", "", "200 200 404 | 200 200 200 200 | 200 200 200 200"},
		{"POST /v3/organizations", `{"name":"new"}`, "201 403 403 | 403 403 403 403 | 403 403 403 403"},
		{"PATCH /v3/organizations/{org}", `{"name":"other"}`, "200 403 404 | 403 403 403 200 | 403 403 403 403"},
		{"PATCH /v3/organizations/{org}", `{"suspended":true}`, "200 403 404 | 403 403 403 403 | 403 403 403 403"},
		{"DELETE /v3/organizations/{org}", "", "202 403 404 | 403 403 403 403 | 403 403 403 403"},
		{"GET /v3/organizations/{org}/usage_summary", "", "200 200 404 | 200 200 200 200 | 200 200 200 200"},

		{"GET /v3/spaces/{space}", "", "200 200 404 | 404 404 404 200 | 200 200 200 200"},
		{"POST /v3/spaces", `{"name":"new","relationships":{"organization":{"data":{"guid":"{org}"}}}}`, "201 403 422 | 403 403 403 201 | 403 403 403 403"},
		{"PATCH /v3/spaces/{space}", `{"name":"other"}`, "200 403 404 | 404 404 404 200 | 403 403 403 200"},
		{"DELETE /v3/spaces/{space}", "", "202 403 404 | 404 404 404 202 | 403 403 403 403"},
		{"PATCH /v3/spaces/{space}/features/ssh", `{"enabled":false}`, "200 403 404 | 404 404 404 200 | 403 403 403 200"},

		{"GET /v3/domains/{domain}", "", "200 200 200 | 200 200 200 200 | 200 200 200 200"},
		{"GET /v3/domains/{private}", "", "200 200 404 | 404 200 404 200 | 200 200 200 200"},
		{"POST /v3/domains", `{"name":"new.test"}`, "201 403 403 | 403 403 403 403 | 403 403 403 403"},
		{"POST /v3/domains", `{"name":"new.test","relationships":{"organization":{"data":{"guid":"{org}"}}}}`, "201 403 422 | 403 403 403 201 | 403 403 403 403"},
		{"DELETE /v3/domains/{private}", "", "202 403 404 | 404 403 404 202 | 403 403 403 403"},
		{"DELETE /v3/domains/{domain}", "", "202 403 403 | 403 403 403 403 | 403 403 403 403"},

		{"GET /v3/routes/{route}", "", "200 200 404 | 404 200 404 200 | 200 200 200 200"},
		{"POST /v3/routes", `{"host":"new","relationships":{"space":{"data":{"guid":"{space}"}},"domain":{"data":{"guid":"{domain}"}}}}`, "201 403 422 | 422 422 422 403 | 403 201 201 403"},
		{"PATCH /v3/routes/{route}", `{"metadata":{"labels":{"a":"b"}}}`, "200 403 404 | 404 403 404 403 | 403 200 200 403"},
		{"DELETE /v3/routes/{route}", "", "202 403 404 | 404 403 404 403 | 403 202 202 403"},
		{"POST /v3/routes/{route}/destinations", `{"destinations":[{"app":{"guid":"{app}"}}]}`, "200 403 404 | 404 403 404 403 | 403 200 200 403"},
		{"GET /v3/routes/{route}/destinations", "", "200 200 404 | 404 200 404 200 | 200 200 200 200"},

		{"GET /v3/roles/{role}", "", "200 200 404 | 404 404 404 200 | 200 200 200 200"},
		{"DELETE /v3/roles/{role}", "", "202 403 404 | 404 404 404 202 | 403 403 403 202"},
		{"POST /v3/roles", `{"type":"space_auditor","relationships":{"user":{"data":{"guid":"organization_user-guid"}},"space":{"data":{"guid":"{space}"}}}}`, "201 403 422 | 422 422 422 201 | 403 403 403 201"},
		{"POST /v3/roles", `{"type":"organization_user","relationships":{"user":{"data":{"username":"stranger"}},"organization":{"data":{"guid":"{org}"}}}}`, "201 403 422 | 403 403 403 201 | 403 403 403 403"},

		{"GET /v3/organization_quotas/{orgquota}", "", "200 200 404 | 200 200 200 200 | 200 200 200 200"},
		{"POST /v3/organization_quotas", `{"name":"new"}`, "201 403 403 | 403 403 403 403 | 403 403 403 403"},
		{"PATCH /v3/organization_quotas/{orgquota}", `{"name":"other"}`, "200 403 404 | 403 403 403 403 | 403 403 403 403"},
		{"GET /v3/space_quotas/{spacequota}", "", "200 200 404 | 404 404 404 200 | 200 200 200 200"},
		{"POST /v3/space_quotas", `{"name":"new","relationships":{"organization":{"data":{"guid":"{org}"}}}}`, "201 403 422 | 403 403 403 201 | 403 403 403 403"},
		{"DELETE /v3/space_quotas/{spacequota}", "", "202 403 404 | 404 404 404 202 | 403 403 403 403"},

		{"GET /v3/feature_flags/route_creation", "", "200 200 200 | 200 200 200 200 | 200 200 200 200"},
		{"PATCH /v3/feature_flags/route_creation", `{"enabled":false}`, "200 403 403 | 403 403 403 403 | 403 403 403 403"},
		{"PATCH /v3/environment_variable_groups/running", `{"var":{"A":"b"}}`, "200 403 403 | 403 403 403 403 | 403 403 403 403"},
		{"POST /v3/buildpacks", `{"name":"new"}`, "201 403 403 | 403 403 403 403 | 403 403 403 403"},
		{"POST /v3/users", `{"guid":"new"}`, "201 403 403 | 403 403 403 403 | 403 403 403 403"},
		{"GET /v3/users/space_developer-guid", "", "200 200 404 | 200 200 200 200 | 200 200 200 200"},
		{"DELETE /v3/users/space_developer-guid", "", "202 403 404 | 403 403 403 403 | 403 403 403 403"},

		{"GET /v3/apps/{app}", "", "200 200 404 | 404 404 404 200 | 200 200 200 200"},
		{"PATCH /v3/apps/{app}", `{"name":"other"}`, "200 403 404 | 404 404 404 403 | 403 403 200 403"},
		{"GET /v3/apps/{app}/routes", "", "200 200 404 | 404 404 404 200 | 200 200 200 200"},
		{"POST /v3/apps/{app}/actions/stop", "", "200 403 404 | 404 404 404 403 | 403 200 200 403"},
		{"DELETE /v3/apps/{app}", "", "202 403 404 | 404 404 404 403 | 403 403 202 403"},
	}
	for _, tt := range table {
		t.Run(tt.request+tt.body, func(t *testing.T) {
			t.Parallel()
			want := strings.Fields(strings.ReplaceAll(tt.want, "|", ""))
			method, path, _ := strings.Cut(tt.request, " ")
			w := newWorld(t)
			for i, user := range users {
				var body any
				if tt.body != "" {
					body = w.fill(tt.body)
				}
				if got := w.as(user, method, w.fill(path), body); strconv.Itoa(got.status) != want[i] {
					t.Errorf("%s gets %d, want %s: %s", user, got.status, want[i], got.body)
				} else if got.status < 300 && method != "GET" {
					w = newWorld(t) // it is as it was for the next user
				}
			}
		})
	}
}

// A list shows what its members' own GET shows, and no more.
func TestListsShowOnlyWhatUsersSee(t *testing.T) {
	w := newWorld(t)
	other := w.newOrg("other")
	otherSpace := w.newSpace(other, "elsewhere")
	w.newRoute(otherSpace, w.domain, "elsewhere", "").want(201)
	w.newApp(otherSpace, "hidden")
	for _, tt := range []struct{ user, path, field, want string }{
		{"admin", "/v3/organizations?order_by=name", "name", "acme other"},
		{"organization_user", "/v3/organizations", "name", "acme"},
		{"stranger", "/v3/organizations", "name", ""},
		{"admin", "/v3/spaces?order_by=name", "name", "dev elsewhere"},
		{"organization_user", "/v3/spaces", "name", ""},
		{"space_auditor", "/v3/spaces", "name", "dev"},
		{"admin", "/v3/routes?order_by=created_at", "host", "shop elsewhere"},
		{"space_auditor", "/v3/routes", "host", "shop"},
		{"stranger", "/v3/routes", "host", ""},
		{"space_auditor", "/v3/apps", "name", "shop"},
		{"stranger", "/v3/domains", "name", "stackato.test"},
		{"space_auditor", "/v3/domains", "name", "stackato.test acme.test"},
		{"stranger", "/v3/users", "username", ""},
		{"stranger", "/v3/roles", "type", ""},
		{"stranger", "/v3/organization_quotas", "name", ""},
		{"organization_user", "/v3/organization_quotas", "name", "small"},
		{"stranger", "/v3/space_quotas", "name", ""},
		{"stranger", "/v3/audit_events", "type", ""},
	} {
		w.as(tt.user, "GET", tt.path, nil).mustHave(tt.field, tt.want)
	}
}

func TestSuspendedOrganizationIsReadOnly(t *testing.T) {
	w := newWorld(t)
	w.admin("PATCH", "/v3/organizations/"+w.org, map[string]any{"suspended": true}).want(200)
	w.as("space_developer", "GET", "/v3/spaces/"+w.space, nil).want(200)
	w.as("space_manager", "PATCH", "/v3/spaces/"+w.space, `{"name":"x"}`).fails(errSuspended, "")
	w.as("space_developer", "PATCH", "/v3/apps/"+w.app, `{"name":"x"}`).fails(errSuspended, "")
	w.as("space_developer", "DELETE", "/v3/routes/"+w.route, nil).fails(errSuspended, "")
	w.admin("PATCH", "/v3/spaces/"+w.space, `{"name":"x"}`).want(200)
}
