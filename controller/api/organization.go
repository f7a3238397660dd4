package api

import (
	"iter"
	"strings"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (a *API) organizationRoutes() []route {
	return []route{
		{"POST", "/v3/organizations", auth.GlobalWrite, "Create an organization (everybody, with the flag user_org_creation).", createOrganization},
		{"GET", "/v3/organizations", auth.OrgRead, "List organizations.", listOrganizations},
		{"GET", "/v3/organizations/{guid}", auth.OrgRead, "Show an organization.", getOrganization},
		{"PATCH", "/v3/organizations/{guid}", auth.OrgUpdate, "Rename or label an organization; administrators can suspend it.", updateOrganization},
		{"DELETE", "/v3/organizations/{guid}", auth.GlobalWrite, "Delete an organization with all that is in it (job).", deleteOrganization},
		{"GET", "/v3/organizations/{guid}/domains", auth.OrgRead, "List the domains that an organization can use.", listOrganizationDomains},
		{"GET", "/v3/organizations/{guid}/domains/default", auth.OrgRead, "Show the domain that routes without one get.", defaultDomain},
		{"GET", "/v3/organizations/{guid}/users", auth.OrgRead, "List the users with a role in an organization.", listOrganizationUsers},
		{"GET", "/v3/organizations/{guid}/usage_summary", auth.OrgRead, "Show what an organization uses.", organizationUsage},
		{"GET", "/v3/organizations/{guid}/relationships/default_isolation_segment", auth.OrgRead, "Always none: there are no isolation segments.", organizationSegment},
	}
}

type organizationJSON struct {
	head
	Name          string              `json:"name"`
	Suspended     bool                `json:"suspended"`
	Relationships map[string]relation `json:"relationships"`
	Metadata      metadata            `json:"metadata"`
	Links         links               `json:"links"`
}

func presentOrganization(r *request, o cf.Organization) any {
	self := r.link("/v3/organizations/", o.GUID)
	quota := o.QuotaGUID
	if quota == "" {
		q, _ := r.view.QuotaByName("", cf.DefaultQuota)
		quota = q.GUID
	}
	return organizationJSON{
		head: headOf(o.Resource), Name: o.Name, Suspended: o.Suspended,
		Relationships: map[string]relation{"quota": toOne(quota)},
		Metadata:      metadataOf(o.Metadata),
		Links: links{
			"self": {Href: self}, "domains": {Href: self + "/domains"}, "default_domain": {Href: self + "/domains/default"},
			"quota": {Href: r.link("/v3/organization_quotas/", quota)},
		},
	}
}

func organizationParty(o cf.Organization) cf.EventParty {
	return cf.EventParty{GUID: o.GUID, Type: "organization", Name: o.Name}
}

// organization is one that the user may do action with.
func (r *request) organization(guid string, action auth.Action) (cf.Organization, error) {
	o, found := r.view.Organization(guid)
	if !found {
		return o, cf.ErrNotFound.With("Organization not found")
	}
	return o, r.require(auth.OrgRead, action, guid, "", "Organization")
}

// organizationsWith yields the organizations in which the user may do an
// action.
func (r *request) organizationsWith(action auth.Action) iter.Seq[cf.Organization] {
	return where(r.view.Organizations(), func(o *cf.Organization) bool { return r.can.Can(action, o.GUID, "") })
}

// where yields the rows that match.
func where[T any](rows []T, match func(*T) bool) iter.Seq[T] {
	return func(yield func(T) bool) {
		for i := range rows {
			if match(&rows[i]) && !yield(rows[i]) {
				return
			}
		}
	}
}

func listOrganizations(r *request) (response, error) {
	l := listing[cf.Organization]{
		resource: func(o *cf.Organization) cf.Resource { return o.Resource },
		metadata: func(o *cf.Organization) cf.Metadata { return o.Metadata },
		filters:  map[string]func(*cf.Organization) string{"names": func(o *cf.Organization) string { return o.Name }},
		orders:   map[string]func(a, b *cf.Organization) int{"name": func(a, b *cf.Organization) int { return strings.Compare(a.Name, b.Name) }},
		present:  func(r *request, o cf.Organization) any { return presentOrganization(r, o) },
	}
	return l.serve(r, r.organizationsWith(auth.OrgRead))
}

func getOrganization(r *request) (response, error) {
	o, err := r.organization(r.guid(), auth.OrgRead)
	if err != nil {
		return response{}, err
	}
	return ok(presentOrganization(r, o))
}

// nameProblem checks the name of an organization, a space or a quota.
func nameProblem(name string) problems {
	var p problems
	p.check(strings.TrimSpace(name) != "", "Name can't be blank")
	p.check(len(name) <= 255, "Name is too long (maximum is 255 characters)")
	p.check(!strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f }), "Name must not contain control characters")
	return p
}

func createOrganization(r *request) (response, error) {
	var body struct {
		Name      string        `json:"name"`
		Suspended bool          `json:"suspended"`
		Metadata  *metadataBody `json:"metadata"`
	}
	if flag, _ := r.view.FeatureFlag("user_org_creation"); !r.can.Admin() && !flag.Enabled {
		return response{}, cf.ErrNotAuthorized
	}
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	if err := nameProblem(body.Name).err(); err != nil {
		return response{}, err
	}
	labels, err := body.Metadata.fresh()
	if err != nil {
		return response{}, err
	}
	o := cf.Organization{Resource: r.resource(), Metadata: labels, Name: body.Name, Suspended: body.Suspended}
	ctx := r.audit("audit.organization.create", organizationParty(o), o.GUID, "", body)
	if err := r.store().CreateOrganization(ctx, o); err != nil {
		return response{}, err
	}
	if !r.can.Admin() {
		for _, typ := range []string{"organization_user", "organization_manager"} {
			role := cf.Role{Resource: r.resource(), Type: typ, UserGUID: r.user.UserID, OrgGUID: o.GUID}
			if err := r.store().CreateRole(r.Context(), state.RoleCreation{Role: role, UserName: r.user.UserName}); err != nil {
				return response{}, err
			}
		}
	}
	return created(presentOrganization(r, o))
}

func updateOrganization(r *request) (response, error) {
	o, err := r.organization(r.guid(), auth.OrgUpdate)
	if err != nil {
		return response{}, err
	}
	var body struct {
		Name      *string       `json:"name"`
		Suspended *bool         `json:"suspended"`
		Metadata  *metadataBody `json:"metadata"`
	}
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	if body.Suspended != nil && !r.can.Admin() {
		return response{}, cf.ErrNotAuthorized
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
	ctx := r.audit("audit.organization.update", organizationParty(o), o.GUID, "", body)
	o, err = r.store().UpdateOrganization(ctx, state.OrganizationUpdate{
		GUID: o.GUID, Name: body.Name, Suspended: body.Suspended, Metadata: patch, At: r.now,
	})
	if err != nil {
		return response{}, err
	}
	return ok(presentOrganization(r, o))
}

func deleteOrganization(r *request) (response, error) {
	o, err := r.organization(r.guid(), auth.GlobalWrite)
	if err != nil {
		return response{}, err
	}
	j := r.newJob(jobDeleteOrganization, o.GUID)
	ctx := r.audit("audit.organization.delete-request", organizationParty(o), o.GUID, "", nil)
	if err := r.store().BeginDeletion(ctx, j, o.GUID); err != nil {
		return response{}, err
	}
	return r.accepted(j.GUID)
}

func organizationUsage(r *request) (response, error) {
	o, err := r.organization(r.guid(), auth.OrgRead)
	if err != nil {
		return response{}, err
	}
	u := r.view.UsageOfOrganization(o.GUID)
	routes, services := 0, 0
	for _, s := range r.view.SpacesOfOrganization(o.GUID) {
		routes += len(r.view.RoutesOfSpace(s.GUID))
		services += len(r.view.ServiceInstancesOfSpace(s.GUID))
	}
	self := r.link("/v3/organizations/", o.GUID)
	return ok(map[string]any{
		"usage_summary": map[string]int{
			"started_instances": u.Instances, "memory_in_mb": u.MemoryMB, "routes": routes, "service_instances": services,
			"reserved_ports": 0, "domains": len(r.view.DomainsOfOrganization(o.GUID)), "per_app_tasks": 0, "service_keys": 0,
		},
		"links": links{"self": {Href: self + "/usage_summary"}, "organization": {Href: self}},
	})
}

func organizationSegment(r *request) (response, error) {
	o, err := r.organization(r.guid(), auth.OrgRead)
	if err != nil {
		return response{}, err
	}
	return ok(related{nil, links{"self": {Href: r.link("/v3/organizations/", o.GUID, "/relationships/default_isolation_segment")}}})
}
