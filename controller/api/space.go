package api

import (
	"strings"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (a *API) spaceRoutes() []route {
	return []route{
		{"POST", "/v3/spaces", auth.SpaceCreate, "Create a space.", createSpace},
		{"GET", "/v3/spaces", auth.SpaceRead, "List spaces.", listSpaces},
		{"GET", "/v3/spaces/{guid}", auth.SpaceRead, "Show a space.", getSpace},
		{"PATCH", "/v3/spaces/{guid}", auth.SpaceUpdate, "Rename or label a space.", updateSpace},
		{"DELETE", "/v3/spaces/{guid}", auth.SpaceCreate, "Delete a space with all that is in it (job).", deleteSpace},
		{"DELETE", "/v3/spaces/{guid}/routes", auth.RouteCreate, "Delete the routes of a space that lead nowhere (job).", deleteUnmappedRoutes},
		{"GET", "/v3/spaces/{guid}/users", auth.SpaceRead, "List the users with a role in a space.", listSpaceUsers},
		{"GET", "/v3/spaces/{guid}/usage_summary", auth.SpaceRead, "Show what a space uses.", spaceUsage},
		{"GET", "/v3/spaces/{guid}/features/ssh", auth.SpaceRead, "Show whether SSH is allowed in a space.", getSpaceSSH},
		{"PATCH", "/v3/spaces/{guid}/features/ssh", auth.SpaceUpdate, "Allow or forbid SSH in a space.", updateSpaceSSH},
		{"GET", "/v3/spaces/{guid}/features", auth.SpaceRead, "List the features of a space.", listSpaceFeatures},
		{"GET", "/v3/spaces/{guid}/relationships/isolation_segment", auth.SpaceRead, "Always none: there are no isolation segments.", spaceSegment},
		{"GET", "/v3/spaces/{guid}/running_security_groups", auth.SpaceRead, "Always none: there are no security groups yet.", spaceGroups},
		{"GET", "/v3/spaces/{guid}/staging_security_groups", auth.SpaceRead, "Always none: there are no security groups yet.", spaceGroups},
	}
}

type spaceJSON struct {
	head
	Name          string              `json:"name"`
	Relationships map[string]relation `json:"relationships"`
	Metadata      metadata            `json:"metadata"`
	Links         links               `json:"links"`
}

func presentSpace(r *request, s cf.Space) any {
	self := r.link("/v3/spaces/", s.GUID)
	out := spaceJSON{
		head: headOf(s.Resource), Name: s.Name,
		Relationships: map[string]relation{"organization": toOne(s.OrgGUID), "quota": toOne(s.QuotaGUID)},
		Metadata:      metadataOf(s.Metadata),
		Links: links{
			"self": {Href: self}, "organization": {Href: r.link("/v3/organizations/", s.OrgGUID)}, "features": {Href: self + "/features"},
			"apply_manifest": {Href: self + "/actions/apply_manifest", Method: "POST"},
		},
	}
	if s.QuotaGUID != "" {
		out.Links["quota"] = link{Href: r.link("/v3/space_quotas/", s.QuotaGUID)}
	}
	return out
}

func spaceParty(s cf.Space) cf.EventParty {
	return cf.EventParty{GUID: s.GUID, Type: "space", Name: s.Name}
}

// space is one that the user may do action with.
func (r *request) space(guid string, action auth.Action) (cf.Space, error) {
	s, found := r.view.Space(guid)
	if !found {
		return s, cf.ErrNotFound.With("Space not found")
	}
	return s, r.require(auth.SpaceRead, action, s.OrgGUID, s.GUID, "Space")
}

func listSpaces(r *request) (response, error) {
	l := listing[cf.Space]{
		resource: func(s *cf.Space) cf.Resource { return s.Resource },
		metadata: func(s *cf.Space) cf.Metadata { return s.Metadata },
		filters: map[string]func(*cf.Space) string{
			"names":              func(s *cf.Space) string { return s.Name },
			"organization_guids": func(s *cf.Space) string { return s.OrgGUID },
		},
		orders:   map[string]func(a, b *cf.Space) int{"name": func(a, b *cf.Space) int { return strings.Compare(a.Name, b.Name) }},
		includes: []string{"org", "organization"},
		included: func(r *request, _ map[string]bool, rows []cf.Space) map[string]any {
			var guids []string
			for _, s := range rows {
				guids = append(guids, s.OrgGUID)
			}
			return map[string]any{"organizations": r.includedOrganizations(guids)}
		},
		present: func(r *request, s cf.Space) any { return presentSpace(r, s) },
	}
	return l.serve(r, where(r.view.Spaces(), func(s *cf.Space) bool { return r.can.Can(auth.SpaceRead, s.OrgGUID, s.GUID) }))
}

// includedOrganizations presents each organization once.
func (r *request) includedOrganizations(guids []string) []any {
	return once(guids, r.view.Organization, func(o cf.Organization) any { return presentOrganization(r, o) })
}

// includedSpaces presents each space once.
func (r *request) includedSpaces(guids []string) []any {
	return once(guids, r.view.Space, func(s cf.Space) any { return presentSpace(r, s) })
}

// once presents each row once; GUIDs that lead nowhere are left out.
func once[T any](guids []string, get func(string) (T, bool), present func(T) any) []any {
	out := []any{}
	seen := map[string]bool{}
	for _, g := range guids {
		row, found := get(g)
		if found && !seen[g] {
			seen[g] = true
			out = append(out, present(row))
		}
	}
	return out
}

func getSpace(r *request) (response, error) {
	s, err := r.space(r.guid(), auth.SpaceRead)
	if err != nil {
		return response{}, err
	}
	what, err := r.include("org", "organization")
	if err != nil {
		return response{}, err
	}
	out, _ := presentSpace(r, s).(spaceJSON)
	if len(what) == 0 {
		return ok(out)
	}
	return ok(struct {
		spaceJSON
		Included map[string]any `json:"included"`
	}{out, map[string]any{"organizations": r.includedOrganizations([]string{s.OrgGUID})}})
}

func createSpace(r *request) (response, error) {
	var body struct {
		Name          string `json:"name"`
		Relationships struct {
			Organization *relation `json:"organization"`
		} `json:"relationships"`
		Metadata *metadataBody `json:"metadata"`
	}
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	p := nameProblem(body.Name)
	p.check(body.Relationships.Organization.guid() != "", "Relationships 'organization' must be structured like this: \"organization: {\"data\": {\"guid\": \"valid-guid\"}}\"")
	if err := p.err(); err != nil {
		return response{}, err
	}
	org := body.Relationships.Organization.guid()
	if _, err := r.organization(org, auth.OrgRead); err != nil {
		return response{}, cf.ErrUnprocessable.With("Invalid organization. Ensure the organization exists and you have access to it.")
	}
	if _, err := r.organization(org, auth.SpaceCreate); err != nil {
		return response{}, err
	}
	labels, err := body.Metadata.fresh()
	if err != nil {
		return response{}, err
	}
	s := cf.Space{Resource: r.resource(), Metadata: labels, Name: body.Name, OrgGUID: org}
	ctx := r.audit("audit.space.create", spaceParty(s), org, s.GUID, body)
	if err := r.store().CreateSpace(ctx, s); err != nil {
		return response{}, err
	}
	return created(presentSpace(r, s))
}

func updateSpace(r *request) (response, error) {
	s, err := r.space(r.guid(), auth.SpaceUpdate)
	if err != nil {
		return response{}, err
	}
	var body struct {
		Name     *string       `json:"name"`
		Metadata *metadataBody `json:"metadata"`
	}
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	if body.Name != nil {
		if err := nameProblem(*body.Name).err(); err != nil {
			return response{}, err
		}
	}
	patch, err := body.Metadata.patch()
	if err != nil {
		return response{}, err
	}
	ctx := r.audit("audit.space.update", spaceParty(s), s.OrgGUID, s.GUID, body)
	s, err = r.store().UpdateSpace(ctx, state.SpaceUpdate{GUID: s.GUID, Name: body.Name, Metadata: patch, At: r.now})
	if err != nil {
		return response{}, err
	}
	return ok(presentSpace(r, s))
}

func deleteSpace(r *request) (response, error) {
	s, err := r.space(r.guid(), auth.SpaceCreate)
	if err != nil {
		return response{}, err
	}
	j := r.newJob(jobDeleteSpace, s.GUID)
	ctx := r.audit("audit.space.delete-request", spaceParty(s), s.OrgGUID, s.GUID, nil)
	if err := r.store().BeginDeletion(ctx, j, ""); err != nil {
		return response{}, err
	}
	return r.accepted(j.GUID)
}

func deleteUnmappedRoutes(r *request) (response, error) {
	s, err := r.space(r.guid(), auth.RouteCreate)
	if err != nil {
		return response{}, err
	}
	if r.query.Get("unmapped") != "true" {
		return response{}, cf.ErrUnprocessable.With("Mass delete not supported for routes. Use 'unmapped' parameter to delete all unmapped routes.")
	}
	return r.enqueue(jobDeleteUnmapped, s.GUID)
}
