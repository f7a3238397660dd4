package api

import (
	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (a *API) quotaRoutes() []route {
	return []route{
		{"POST", "/v3/organization_quotas", auth.GlobalWrite, "Create an organization quota.", createOrganizationQuota},
		{"GET", "/v3/organization_quotas", auth.OrgQuotaRead, "List organization quotas.", listOrganizationQuotas},
		{"GET", "/v3/organization_quotas/{guid}", auth.OrgQuotaRead, "Show an organization quota.", getOrganizationQuota},
		{"PATCH", "/v3/organization_quotas/{guid}", auth.GlobalWrite, "Change an organization quota.", updateOrganizationQuota},
		{"DELETE", "/v3/organization_quotas/{guid}", auth.GlobalWrite, "Delete an organization quota (job).", deleteOrganizationQuota},
		{"POST", "/v3/organization_quotas/{guid}/relationships/organizations", auth.GlobalWrite, "Give organizations a quota.", assignOrganizationQuota},
		{"POST", "/v3/space_quotas", auth.SpaceQuotaWrite, "Create a space quota.", createSpaceQuota},
		{"GET", "/v3/space_quotas", auth.SpaceQuotaRead, "List space quotas.", listSpaceQuotas},
		{"GET", "/v3/space_quotas/{guid}", auth.SpaceQuotaRead, "Show a space quota.", getSpaceQuota},
		{"PATCH", "/v3/space_quotas/{guid}", auth.SpaceQuotaWrite, "Change a space quota.", updateSpaceQuota},
		{"DELETE", "/v3/space_quotas/{guid}", auth.SpaceQuotaWrite, "Delete a space quota (job).", deleteSpaceQuota},
		{"POST", "/v3/space_quotas/{guid}/relationships/spaces", auth.SpaceQuotaWrite, "Give spaces a quota.", assignSpaceQuota},
		{"DELETE", "/v3/space_quotas/{guid}/relationships/spaces/{space}", auth.SpaceQuotaWrite, "Take a space's quota away.", removeSpaceQuota},
	}
}

func quotaParty(q cf.Quota) cf.EventParty {
	if q.OrgGUID == "" {
		return cf.EventParty{GUID: q.GUID, Type: "organization_quota", Name: q.Name}
	}
	return cf.EventParty{GUID: q.GUID, Type: "space_quota", Name: q.Name}
}

// seesQuota: organization quotas are seen by their organizations' roles, space
// quotas by managers of the organization and by roles of the spaces.
func (r *request) seesQuota(q *cf.Quota) bool {
	if q.OrgGUID == "" {
		if r.can.Everywhere(auth.OrgQuotaRead) {
			return true
		}
		for o := range r.organizationsWith(auth.OrgQuotaRead) {
			if o.QuotaGUID == q.GUID || o.QuotaGUID == "" && q.Name == cf.DefaultQuota {
				return true
			}
		}
		return false
	}
	if r.can.Can(auth.SpaceQuotaRead, q.OrgGUID, "") {
		return true
	}
	for _, s := range r.view.SpacesWithQuota(q.GUID) {
		if r.can.Can(auth.SpaceQuotaRead, q.OrgGUID, s.GUID) {
			return true
		}
	}
	return false
}

// quota is the path's quota, if the user may do action with it.
func (r *request) quota(space bool, action auth.Action) (cf.Quota, error) {
	q, found := r.view.Quota(r.guid())
	if !found || (q.OrgGUID != "") != space || !r.seesQuota(&q) {
		if space {
			return q, cf.ErrNotFound.With("Space quota not found")
		}
		return q, cf.ErrNotFound.With("Organization quota not found")
	}
	if action != auth.OrgQuotaRead && action != auth.SpaceQuotaRead && !r.can.Can(action, q.OrgGUID, "") {
		return q, cf.ErrNotAuthorized
	}
	return q, nil
}

func listOrganizationQuotas(r *request) (response, error) { return r.listQuotas(false) }
func listSpaceQuotas(r *request) (response, error)        { return r.listQuotas(true) }

func (r *request) listQuotas(space bool) (response, error) {
	l := listing[cf.Quota]{
		resource: func(q *cf.Quota) cf.Resource { return q.Resource },
		filters:  map[string]func(*cf.Quota) string{"names": func(q *cf.Quota) string { return q.Name }},
		present:  func(r *request, q cf.Quota) any { return presentQuota(r, q) },
	}
	rows := func(q *cf.Quota) bool { return (q.OrgGUID != "") == space && r.seesQuota(q) }
	if space {
		l.params = []string{"space_guids"}
		l.filters["organization_guids"] = func(q *cf.Quota) string { return q.OrgGUID }
	} else {
		l.params = []string{"organization_guids"}
	}
	match := r.quotasNamed(space)
	return l.serve(r, where(r.view.Quotas(), func(q *cf.Quota) bool { return rows(q) && match(q) }))
}

// quotasNamed keeps the quotas of the spaces, or organizations, that the
// query names.
func (r *request) quotasNamed(space bool) func(*cf.Quota) bool {
	param := "organization_guids"
	if space {
		param = "space_guids"
	}
	if _, asked := r.query[param]; !asked {
		return func(*cf.Quota) bool { return true }
	}
	want := map[string]bool{}
	for _, g := range list(r.query.Get(param)) {
		if s, found := r.view.Space(g); space && found {
			want[s.QuotaGUID] = true
		}
		if o, found := r.view.Organization(g); !space && found {
			quota := o.QuotaGUID
			if quota == "" {
				q, _ := r.view.QuotaByName("", cf.DefaultQuota)
				quota = q.GUID
			}
			want[quota] = true
		}
	}
	return func(q *cf.Quota) bool { return want[q.GUID] }
}

func getOrganizationQuota(r *request) (response, error) { return r.getQuota(false, auth.OrgQuotaRead) }

func getSpaceQuota(r *request) (response, error) { return r.getQuota(true, auth.SpaceQuotaRead) }

func (r *request) getQuota(space bool, action auth.Action) (response, error) {
	q, err := r.quota(space, action)
	if err != nil {
		return response{}, err
	}
	return ok(presentQuota(r, q))
}

func createOrganizationQuota(r *request) (response, error) {
	if err := r.requireAdmin(); err != nil {
		return response{}, err
	}
	var body quotaBody
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	return r.createQuota(body, "", state.QuotaAssignment{Orgs: body.Relationships.Organizations.guids()})
}

func createSpaceQuota(r *request) (response, error) {
	var body quotaBody
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	org := body.Relationships.Organization.guid()
	if _, err := r.organization(org, auth.OrgRead); err != nil {
		return response{}, cf.ErrUnprocessable.With("Organization with guid '%s' does not exist, or you do not have access to it.", cut(org))
	}
	if _, err := r.organization(org, auth.SpaceQuotaWrite); err != nil {
		return response{}, err
	}
	return r.createQuota(body, org, state.QuotaAssignment{Spaces: body.Relationships.Spaces.guids()})
}

// createQuota makes a quota and gives it to whom the body names, or does
// neither.
func (r *request) createQuota(body quotaBody, org string, to state.QuotaAssignment) (response, error) {
	q := cf.Quota{Resource: r.resource(), OrgGUID: org, Name: deref(body.Name, "")}
	q.PaidServices = true
	p := nameProblem(q.Name)
	body.apply(&q.Limits, &p)
	if err := p.err(); err != nil {
		return response{}, err
	}
	var b state.Batch
	b.CreateQuota(q)
	if len(to.Orgs)+len(to.Spaces) > 0 {
		to.GUID, to.At = q.GUID, r.now
		b.AssignQuota(to)
	}
	event := r.event("audit."+quotaParty(q).Type+".create", quotaParty(q), "", nil)
	event.OrgGUID = org
	b.RecordEvent(event)
	if err := r.store().Apply(r.Context(), &b); err != nil {
		return response{}, err
	}
	r.view = r.store().Local()
	return created(presentQuota(r, q))
}

func updateOrganizationQuota(r *request) (response, error) {
	return r.updateQuota(false, auth.GlobalWrite)
}

func updateSpaceQuota(r *request) (response, error) { return r.updateQuota(true, auth.SpaceQuotaWrite) }

func (r *request) updateQuota(space bool, action auth.Action) (response, error) {
	q, err := r.quota(space, action)
	if err != nil {
		return response{}, err
	}
	var body quotaBody
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	var p problems
	if body.Name != nil {
		p = nameProblem(*body.Name)
	}
	limits := q.Limits
	body.apply(&limits, &p)
	if err := p.err(); err != nil {
		return response{}, err
	}
	ctx := r.audit("audit."+quotaParty(q).Type+".update", quotaParty(q), q.OrgGUID, "", nil)
	q, err = r.store().UpdateQuota(ctx, state.QuotaUpdate{GUID: q.GUID, Name: body.Name, Limits: &limits, At: r.now})
	if err != nil {
		return response{}, err
	}
	return ok(presentQuota(r, q))
}

func deleteOrganizationQuota(r *request) (response, error) {
	return r.deleteQuota(false, auth.GlobalWrite)
}

func deleteSpaceQuota(r *request) (response, error) { return r.deleteQuota(true, auth.SpaceQuotaWrite) }

func (r *request) deleteQuota(space bool, action auth.Action) (response, error) {
	q, err := r.quota(space, action)
	if err != nil {
		return response{}, err
	}
	typ := quotaParty(q).Type
	ctx := r.audit("audit."+typ+".delete", quotaParty(q), q.OrgGUID, "", nil)
	if err := r.store().DeleteQuota(ctx, state.Target{GUID: q.GUID, At: r.now}); err != nil {
		return response{}, err
	}
	return r.finished(typ+".delete", q.GUID, nil)
}

func assignOrganizationQuota(r *request) (response, error) {
	return r.assignQuota(false, auth.GlobalWrite)
}

func assignSpaceQuota(r *request) (response, error) { return r.assignQuota(true, auth.SpaceQuotaWrite) }

func (r *request) assignQuota(space bool, action auth.Action) (response, error) {
	q, err := r.quota(space, action)
	if err != nil {
		return response{}, err
	}
	var body relations
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	in := state.QuotaAssignment{GUID: q.GUID, Orgs: body.guids(), At: r.now}
	if space {
		in.Orgs, in.Spaces = nil, body.guids()
	}
	if err := r.store().AssignQuota(r.audit("audit."+quotaParty(q).Type+".apply", quotaParty(q), q.OrgGUID, "", body), in); err != nil {
		return response{}, err
	}
	r.view = r.store().Local()
	return ok(related{toMany(quotaUsers(r, q)).Data, links{"self": {Href: r.link(r.URL.Path)}}})
}

func removeSpaceQuota(r *request) (response, error) {
	q, err := r.quota(true, auth.SpaceQuotaWrite)
	if err != nil {
		return response{}, err
	}
	in := state.QuotaAssignment{GUID: q.GUID, Spaces: []string{r.PathValue("space")}, Remove: true, At: r.now}
	if err := r.store().AssignQuota(r.audit("audit.space_quota.remove", quotaParty(q), q.OrgGUID, "", nil), in); err != nil {
		return response{}, err
	}
	return noContent()
}
