package api

import (
	"strings"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (a *API) roleRoutes() []route {
	return []route{
		{"POST", "/v3/roles", auth.SpaceRoleWrite, "Give a user a role, by GUID or by name and origin.", createRole},
		{"GET", "/v3/roles", auth.RoleRead, "List roles.", listRoles},
		{"GET", "/v3/roles/{guid}", auth.RoleRead, "Show a role.", getRole},
		{"DELETE", "/v3/roles/{guid}", auth.SpaceRoleWrite, "Take a role away (job).", deleteRole},
	}
}

type roleJSON struct {
	head
	Type          string              `json:"type"`
	Relationships map[string]relation `json:"relationships"`
	Links         links               `json:"links"`
}

func presentRole(r *request, role cf.Role) any {
	out := roleJSON{
		head: headOf(role.Resource), Type: role.Type,
		Relationships: map[string]relation{"user": toOne(role.UserGUID), "organization": toOne(role.OrgGUID), "space": toOne(role.SpaceGUID)},
		Links:         links{"self": {Href: r.link("/v3/roles/", role.GUID)}, "user": {Href: r.link("/v3/users/", role.UserGUID)}},
	}
	if role.OrgGUID != "" {
		out.Links["organization"] = link{Href: r.link("/v3/organizations/", role.OrgGUID)}
	}
	if role.SpaceGUID != "" {
		out.Links["space"] = link{Href: r.link("/v3/spaces/", role.SpaceGUID)}
	}
	return out
}

// placeOf is where a role is held; the organization is never "".
func (r *request) placeOf(role cf.Role) (org, space string) {
	if role.SpaceGUID == "" {
		return role.OrgGUID, ""
	}
	return r.orgOfSpace(role.SpaceGUID), role.SpaceGUID
}

// seesRole: roles are seen where the user has one too.
func (r *request) seesRole(role *cf.Role) bool {
	org, space := r.placeOf(*role)
	if space != "" {
		return r.can.Can(auth.SpaceRead, org, space)
	}
	return r.can.Can(auth.RoleRead, org, "")
}

func (r *request) visibleRoles() []cf.Role {
	var out []cf.Role
	for role := range where(r.view.Roles(), r.seesRole) {
		out = append(out, role)
	}
	return out
}

func listRoles(r *request) (response, error) {
	l := listing[cf.Role]{
		resource: func(role *cf.Role) cf.Resource { return role.Resource },
		filters: map[string]func(*cf.Role) string{
			"types":              func(role *cf.Role) string { return role.Type },
			"user_guids":         func(role *cf.Role) string { return role.UserGUID },
			"organization_guids": func(role *cf.Role) string { return role.OrgGUID },
			"space_guids":        func(role *cf.Role) string { return role.SpaceGUID },
		},
		includes: []string{"user", "space", "organization"},
		included: includedWithRoles,
		present:  func(r *request, role cf.Role) any { return presentRole(r, role) },
	}
	return l.serve(r, where(r.view.Roles(), r.seesRole))
}

func includedWithRoles(r *request, what map[string]bool, rows []cf.Role) map[string]any {
	var users, orgs, spaces []string
	for _, role := range rows {
		users, orgs, spaces = append(users, role.UserGUID), append(orgs, role.OrgGUID), append(spaces, role.SpaceGUID)
	}
	out := map[string]any{}
	if what["user"] {
		out["users"] = r.includedUsers(users)
	}
	if what["organization"] {
		out["organizations"] = r.includedOrganizations(orgs)
	}
	if what["space"] {
		out["spaces"] = r.includedSpaces(spaces)
	}
	return out
}

func (r *request) role() (cf.Role, error) {
	role, found := r.view.Role(r.guid())
	if !found || !r.seesRole(&role) {
		return role, cf.ErrNotFound.With("Role not found")
	}
	return role, nil
}

func getRole(r *request) (response, error) {
	role, err := r.role()
	if err != nil {
		return response{}, err
	}
	return ok(presentRole(r, role))
}

type roleBody struct {
	Type          string `json:"type"`
	Relationships struct {
		User *struct {
			Data *struct {
				GUID     string `json:"guid"`
				UserName string `json:"username"`
				Origin   string `json:"origin"`
			} `json:"data"`
		} `json:"user"`
		Organization *relation `json:"organization"`
		Space        *relation `json:"space"`
	} `json:"relationships"`
}

// check returns what is wrong with the body itself.
func (b roleBody) check() error {
	var p problems
	role := auth.Parse(b.Type)
	p.check(role.IsOrg() || role.IsSpace(), "Type must be one of the allowed types organization_auditor, organization_manager, organization_billing_manager, organization_user, space_auditor, space_supporter, space_manager, space_developer")
	org, space := b.Relationships.Organization.guid(), b.Relationships.Space.guid()
	p.check(org == "" || space == "", "Role cannot be associated with both an organization and a space.")
	p.check(!role.IsOrg() || org != "", "Role with type '"+b.Type+"' must be associated with an organization.")
	p.check(!role.IsSpace() || space != "", "Role with type '"+b.Type+"' must be associated with a space.")
	u := b.Relationships.User
	p.check(u != nil && u.Data != nil && (u.Data.GUID != "" || u.Data.UserName != ""), "Relationships 'user' must have a guid or a username")
	p.check(u == nil || u.Data == nil || u.Data.GUID == "" || u.Data.UserName == "", "Relationships 'user' cannot have both a guid and a username")
	return p.err()
}

func createRole(r *request) (response, error) {
	var body roleBody
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	if err := body.check(); err != nil {
		return response{}, err
	}
	role := cf.Role{
		Resource: r.resource(), Type: body.Type,
		OrgGUID: body.Relationships.Organization.guid(), SpaceGUID: body.Relationships.Space.guid(),
	}
	if err := r.mayWriteRole(role, true); err != nil {
		return response{}, err
	}
	var name string
	var err error
	if role.UserGUID, name, err = r.roleUser(body); err != nil {
		return response{}, err
	}
	org, space := r.placeOf(role)
	target := cf.EventParty{GUID: role.UserGUID, Type: "user", Name: name}
	ctx := r.audit("audit.user."+role.Type+"_add", target, org, space, nil)
	if err := r.store().CreateRole(ctx, state.RoleCreation{Role: role, UserName: name}); err != nil {
		return response{}, err
	}
	return created(presentRole(r, role))
}

// mayWriteRole returns 403, or what create says for a place that the user
// does not see.
func (r *request) mayWriteRole(role cf.Role, create bool) error {
	org, space := r.placeOf(role)
	read, write, what := auth.OrgRead, auth.OrgRoleWrite, "organization"
	if space != "" {
		read, write, what = auth.SpaceRead, auth.SpaceRoleWrite, "space"
	}
	if create && (org == "" || !r.can.Can(read, org, space)) {
		return cf.ErrUnprocessable.With("Invalid %s. Ensure that the %s exists and you have access to it.", what, what)
	}
	return r.require(read, write, org, space, "Role")
}

// roleUser finds the user that a new role is for. Users of other origins than
// the built-in one get their rows when they first log in.
func (r *request) roleUser(body roleBody) (guid, name string, err error) {
	want := body.Relationships.User.Data
	if want.GUID != "" {
		_, known := r.view.CloudUser(want.GUID)
		_, login := r.view.User(want.GUID)
		if !known && !login {
			return "", "", cf.ErrUnprocessable.With("Invalid user. Ensure that the user exists and you have access to it.")
		}
		return want.GUID, r.userName(want.GUID), nil
	}
	if flag, _ := r.view.FeatureFlag("set_roles_by_username"); !flag.Enabled && !r.can.Admin() {
		return "", "", featureDisabled(flag)
	}
	var found []cf.User
	var origins []string
	for _, u := range r.view.UsersNamed(want.UserName) {
		if want.Origin == "" || u.Origin == want.Origin {
			found, origins = append(found, u), append(origins, u.Origin)
		}
	}
	switch {
	case len(found) == 0 && want.Origin != "":
		return "", "", cf.ErrUnprocessable.With("No user exists with the username '%s' and origin '%s'.", want.UserName, want.Origin)
	case len(found) == 0:
		return "", "", cf.ErrUnprocessable.With("No user exists with the username '%s'.", want.UserName)
	case len(found) > 1:
		return "", "", cf.ErrUnprocessable.With("Ambiguous user. User with username '%s' exists in the following origins: %s. Specify an origin to disambiguate.", want.UserName, strings.Join(origins, ", "))
	}
	return found[0].GUID, found[0].UserName, nil
}

func deleteRole(r *request) (response, error) {
	role, err := r.role()
	if err != nil {
		return response{}, err
	}
	if err := r.mayWriteRole(role, false); err != nil {
		return response{}, err
	}
	org, space := r.placeOf(role)
	target := cf.EventParty{GUID: role.UserGUID, Type: "user", Name: r.userName(role.UserGUID)}
	ctx := r.audit("audit.user."+role.Type+"_remove", target, org, space, nil)
	if err := r.store().DeleteRole(ctx, state.Target{GUID: role.GUID, At: r.now}); err != nil {
		return response{}, err
	}
	return r.finished("role.delete", role.GUID, nil)
}
