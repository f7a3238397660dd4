package api

import (
	"strings"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (a *API) userRoutes() []route {
	return []route{
		{"POST", "/v3/users", auth.GlobalWrite, "Make a user of the log-in service known.", createUser},
		{"GET", "/v3/users", auth.SignedIn, "List users: those whom you share an organization with.", listUsers},
		{"GET", "/v3/users/{guid}", auth.SignedIn, "Show a user.", getUser},
		{"PATCH", "/v3/users/{guid}", auth.GlobalWrite, "Label a user.", updateUser},
		{"DELETE", "/v3/users/{guid}", auth.GlobalWrite, "Forget a user with all roles (job).", deleteUser},
	}
}

type userJSON struct {
	head
	UserName         *string  `json:"username"`
	PresentationName string   `json:"presentation_name"`
	Origin           *string  `json:"origin"`
	Metadata         metadata `json:"metadata"`
	Links            links    `json:"links"`
}

// presentUser shows a client, which has no name, by its id.
func presentUser(r *request, u cf.CloudUser) any {
	login, _ := r.view.User(u.GUID)
	out := userJSON{
		head: headOf(u.Resource), UserName: orNull(login.UserName), Origin: orNull(login.Origin), PresentationName: login.UserName,
		Metadata: metadataOf(u.Metadata), Links: links{"self": {Href: r.link("/v3/users/", u.GUID)}},
	}
	if out.PresentationName == "" {
		out.PresentationName = u.GUID
	}
	return out
}

// includedUsers presents each user once.
func (r *request) includedUsers(guids []string) []any {
	return once(guids, r.view.CloudUser, func(u cf.CloudUser) any { return presentUser(r, u) })
}

// userName is how errors and events call a user.
func (r *request) userName(guid string) string {
	if u, found := r.view.User(guid); found {
		return u.UserName
	}
	return guid
}

// visibleUsers tells whom the user may see: everybody by a global role, else
// themselves and who has a role where they have one.
func (r *request) visibleUsers() func(guid string) bool {
	if r.can.Everywhere(auth.GlobalRead) {
		return func(string) bool { return true }
	}
	seen := map[string]bool{r.user.UserID: true}
	for _, role := range r.visibleRoles() {
		seen[role.UserGUID] = true
	}
	return func(guid string) bool { return seen[guid] }
}

func userListing() listing[cf.CloudUser] {
	return listing[cf.CloudUser]{
		resource: func(u *cf.CloudUser) cf.Resource { return u.Resource },
		metadata: func(u *cf.CloudUser) cf.Metadata { return u.Metadata },
		params:   []string{"usernames", "partial_usernames", "origins"},
		present:  func(r *request, u cf.CloudUser) any { return presentUser(r, u) },
	}
}

// usersMatching keeps the users that the query's names and origins allow.
func (r *request) usersMatching(match func(*cf.CloudUser) bool) func(*cf.CloudUser) bool {
	names, partial, origins := list(r.query.Get("usernames")), list(r.query.Get("partial_usernames")), list(r.query.Get("origins"))
	_, byName := r.query["usernames"]
	return func(u *cf.CloudUser) bool {
		if !match(u) {
			return false
		}
		if !byName && len(partial) == 0 && len(origins) == 0 {
			return true
		}
		login, _ := r.view.User(u.GUID)
		name := login.UserName
		if name == "" {
			name = u.GUID // set-role --client looks for clients by id
		}
		return (!byName || anyOf(names, func(n string) bool { return strings.EqualFold(n, name) })) &&
			(len(partial) == 0 || anyOf(partial, func(n string) bool { return strings.Contains(strings.ToLower(name), strings.ToLower(n)) })) &&
			(len(origins) == 0 || anyOf(origins, func(o string) bool { return o == login.Origin }))
	}
}

func anyOf(values []string, match func(string) bool) bool {
	for _, v := range values {
		if match(v) {
			return true
		}
	}
	return false
}

func (r *request) checkOrigins() error {
	_, named := r.query["usernames"]
	_, partial := r.query["partial_usernames"]
	if _, origins := r.query["origins"]; origins && !named && !partial {
		return cf.ErrBadQuery.With("The query parameter is invalid: Origins filter cannot be provided without usernames or partial_usernames filter.")
	}
	return nil
}

func listUsers(r *request) (response, error) {
	if err := r.checkOrigins(); err != nil {
		return response{}, err
	}
	visible := r.visibleUsers()
	return userListing().serve(r, where(r.view.CloudUsers(), r.usersMatching(func(u *cf.CloudUser) bool { return visible(u.GUID) })))
}

func listOrganizationUsers(r *request) (response, error) {
	o, err := r.organization(r.guid(), auth.OrgRead)
	if err != nil {
		return response{}, err
	}
	return r.usersWithRoles(r.view.RolesInOrganization(o.GUID))
}

func listSpaceUsers(r *request) (response, error) {
	s, err := r.space(r.guid(), auth.SpaceRead)
	if err != nil {
		return response{}, err
	}
	return r.usersWithRoles(r.view.RolesInSpace(s.GUID))
}

func (r *request) usersWithRoles(roles []cf.Role) (response, error) {
	if err := r.checkOrigins(); err != nil {
		return response{}, err
	}
	var users []cf.CloudUser
	seen := map[string]bool{}
	for _, role := range roles {
		u, found := r.view.CloudUser(role.UserGUID)
		if found && !seen[u.GUID] {
			seen[u.GUID] = true
			users = append(users, u)
		}
	}
	return userListing().serve(r, where(users, r.usersMatching(func(*cf.CloudUser) bool { return true })))
}

// cloudUser is the path's user, if the user may see them.
func (r *request) cloudUser() (cf.CloudUser, error) {
	u, found := r.view.CloudUser(r.guid())
	if !found || !r.visibleUsers()(u.GUID) {
		return u, cf.ErrNotFound.With("User not found")
	}
	return u, nil
}

func getUser(r *request) (response, error) {
	u, err := r.cloudUser()
	if err != nil {
		return response{}, err
	}
	return ok(presentUser(r, u))
}

func createUser(r *request) (response, error) {
	var body struct {
		GUID     string        `json:"guid"`
		UserName string        `json:"username"`
		Origin   string        `json:"origin"`
		Metadata *metadataBody `json:"metadata"`
	}
	if err := r.requireAdmin(); err != nil {
		return response{}, err
	}
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	if body.GUID == "" && body.UserName != "" {
		u, found := r.view.UserByName(body.UserName, body.Origin)
		if !found {
			return response{}, cf.ErrUnprocessable.With("There is no user '%s' of origin '%s'. Create the user first: cf create-user", cut(body.UserName), cut(body.Origin))
		}
		body.GUID = u.GUID
	}
	var p problems
	p.check(body.GUID != "", "Guid must be a string")
	p.check(len(body.GUID) <= 200, "Guid must be between 1 and 200 characters")
	if err := p.err(); err != nil {
		return response{}, err
	}
	labels, err := body.Metadata.fresh()
	if err != nil {
		return response{}, err
	}
	u := cf.CloudUser{Resource: r.resource(), Metadata: labels}
	u.GUID = body.GUID
	ctx := r.audit("audit.user.create", cf.EventParty{GUID: u.GUID, Type: "user", Name: r.userName(u.GUID)}, "", "", nil)
	if err := r.store().CreateCloudUser(ctx, u); err != nil {
		return response{}, err
	}
	return created(presentUser(r, u))
}

func updateUser(r *request) (response, error) {
	u, err := r.cloudUser()
	if err != nil {
		return response{}, err
	}
	if err := r.requireAdmin(); err != nil {
		return response{}, err
	}
	patch, err := r.metadataOnly()
	if err != nil {
		return response{}, err
	}
	u, err = r.store().UpdateCloudUser(r.Context(), state.CloudUserUpdate{GUID: u.GUID, Metadata: patch, At: r.now})
	if err != nil {
		return response{}, err
	}
	return ok(presentUser(r, u))
}

func deleteUser(r *request) (response, error) {
	u, err := r.cloudUser()
	if err != nil {
		return response{}, err
	}
	if err := r.requireAdmin(); err != nil {
		return response{}, err
	}
	ctx := r.audit("audit.user.delete", cf.EventParty{GUID: u.GUID, Type: "user", Name: r.userName(u.GUID)}, "", "", nil)
	if err := r.store().DeleteCloudUser(ctx, state.Target{GUID: u.GUID, At: r.now}); err != nil {
		return response{}, err
	}
	return r.finished("user.delete", u.GUID, nil)
}
