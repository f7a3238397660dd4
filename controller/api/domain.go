package api

import (
	"regexp"
	"slices"
	"strings"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (a *API) domainRoutes() []route {
	return []route{
		{"POST", "/v3/domains", auth.DomainWrite, "Create a shared domain (administrators) or a private one.", createDomain},
		{"GET", "/v3/domains", auth.DomainRead, "List domains: shared ones and those of your organizations.", listDomains},
		{"GET", "/v3/domains/{guid}", auth.DomainRead, "Show a domain.", getDomain},
		{"PATCH", "/v3/domains/{guid}", auth.DomainWrite, "Label a domain.", updateDomain},
		{"DELETE", "/v3/domains/{guid}", auth.DomainWrite, "Delete a domain with its routes (job).", deleteDomain},
		{"GET", "/v3/domains/{guid}/route_reservations", auth.DomainRead, "Ask whether a route exists.", routeReservations},
		{"POST", "/v3/domains/{guid}/relationships/shared_organizations", auth.DomainWrite, "Share a private domain with organizations.", shareDomain},
		{"DELETE", "/v3/domains/{guid}/relationships/shared_organizations/{org}", auth.DomainWrite, "Stop sharing a private domain.", unshareDomain},
	}
}

type domainJSON struct {
	head
	Name               string         `json:"name"`
	Internal           bool           `json:"internal"`
	RouterGroup        *relationData  `json:"router_group"`
	SupportedProtocols []string       `json:"supported_protocols"`
	Metadata           metadata       `json:"metadata"`
	Relationships      domainRelation `json:"relationships"`
	Links              links          `json:"links"`
}

type domainRelation struct {
	Organization        *relation `json:"organization"`
	SharedOrganizations relations `json:"shared_organizations"`
}

func presentDomain(r *request, d cf.Domain) any {
	self := r.link("/v3/domains/", d.GUID)
	organization := toOne(d.OrgGUID)
	out := domainJSON{
		head: headOf(d.Resource), Name: d.Name, Internal: d.Internal, SupportedProtocols: []string{"http"}, Metadata: metadataOf(d.Metadata),
		Relationships: domainRelation{&organization, toMany(d.SharedOrgs)},
		Links:         links{"self": {Href: self}, "route_reservations": {Href: self + "/route_reservations"}},
	}
	if d.OrgGUID != "" {
		out.Links["organization"] = link{Href: r.link("/v3/organizations/", d.OrgGUID)}
		out.Links["shared_organizations"] = link{Href: self + "/relationships/shared_organizations"}
	}
	return out
}

func domainParty(d cf.Domain) cf.EventParty {
	return cf.EventParty{GUID: d.GUID, Type: "domain", Name: d.Name}
}

// seesDomain: a private domain is seen by the roles of its organizations and
// of their spaces.
func (r *request) seesDomain() func(*cf.Domain) bool {
	if r.can.Everywhere(auth.DomainRead) {
		return func(*cf.Domain) bool { return true }
	}
	orgs := map[string]bool{}
	for _, role := range r.view.RolesOfUser(r.user.UserID) {
		org, space := r.placeOf(role)
		orgs[org] = orgs[org] || r.can.Can(auth.DomainRead, org, space)
	}
	return func(d *cf.Domain) bool {
		return d.OrgGUID == "" || orgs[d.OrgGUID] || slices.ContainsFunc(d.SharedOrgs, func(o string) bool { return orgs[o] })
	}
}

// domain is one that the user sees; the second value is whether they may
// change it.
func (r *request) domain(guid string) (cf.Domain, error) {
	d, found := r.view.Domain(guid)
	if !found || !r.seesDomain()(&d) {
		return d, cf.ErrNotFound.With("Domain not found")
	}
	return d, nil
}

// writableDomain is the path's domain, if the user may change it.
func (r *request) writableDomain() (cf.Domain, error) {
	d, err := r.domain(r.guid())
	if err == nil && !r.can.Can(auth.DomainWrite, d.OrgGUID, "") {
		err = cf.ErrNotAuthorized
	}
	return d, err
}

func domainListing() listing[cf.Domain] {
	return listing[cf.Domain]{
		resource: func(d *cf.Domain) cf.Resource { return d.Resource },
		metadata: func(d *cf.Domain) cf.Metadata { return d.Metadata },
		filters: map[string]func(*cf.Domain) string{
			"names":              func(d *cf.Domain) string { return d.Name },
			"organization_guids": func(d *cf.Domain) string { return d.OrgGUID },
		},
		present: func(r *request, d cf.Domain) any { return presentDomain(r, d) },
	}
}

func listDomains(r *request) (response, error) {
	return domainListing().serve(r, where(r.view.Domains(), r.seesDomain()))
}

func listOrganizationDomains(r *request) (response, error) {
	o, err := r.organization(r.guid(), auth.OrgRead)
	if err != nil {
		return response{}, err
	}
	return domainListing().serve(r, where(r.view.Domains(), func(d *cf.Domain) bool {
		return d.OrgGUID == "" || d.UsableBy(o.GUID) && r.can.Can(auth.DomainRead, o.GUID, "")
	}))
}

// defaultDomainOf is the oldest shared domain, else the oldest private one: the
// routes of apps that name no domain are made in it.
func (r *request) defaultDomainOf(org string) (cf.Domain, bool) {
	var best cf.Domain
	for _, d := range r.view.Domains() {
		if d.Internal || !d.UsableBy(org) {
			continue
		}
		shared, bestShared := d.OrgGUID == "", best.OrgGUID == ""
		older := d.CreatedAt.Before(best.CreatedAt) || d.CreatedAt.Equal(best.CreatedAt) && d.GUID < best.GUID
		if best.GUID == "" || shared && !bestShared || shared == bestShared && older {
			best = d
		}
	}
	return best, best.GUID != ""
}

func defaultDomain(r *request) (response, error) {
	o, err := r.organization(r.guid(), auth.OrgRead)
	if err != nil {
		return response{}, err
	}
	d, found := r.defaultDomainOf(o.GUID)
	if !found {
		return response{}, cf.ErrNotFound.With("Domain not found")
	}
	return ok(presentDomain(r, d))
}

func getDomain(r *request) (response, error) {
	d, err := r.domain(r.guid())
	if err != nil {
		return response{}, err
	}
	return ok(presentDomain(r, d))
}

var domainLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// domainNameProblems follows RFC 1035, with at least two labels.
func domainNameProblems(name string) problems {
	var p problems
	p.check(len(name) >= 3 && len(name) <= 253, "Name must be between 3 and 253 characters")
	p.check(strings.Contains(name, "."), "Name must contain at least one \".\"")
	for _, l := range strings.Split(name, ".") {
		if !domainLabel.MatchString(l) {
			p.check(false, "Name does not comply with RFC 1035 standards: each part has letters, digits and hyphens, up to 63 characters")
			break
		}
	}
	return p
}

type domainBody struct {
	Name          string        `json:"name"`
	Internal      *bool         `json:"internal"`
	RouterGroup   *relationData `json:"router_group"`
	Metadata      *metadataBody `json:"metadata"`
	Relationships struct {
		Organization        *relation `json:"organization"`
		SharedOrganizations relations `json:"shared_organizations"`
	} `json:"relationships"`
}

func (b domainBody) check() error {
	p := domainNameProblems(b.Name)
	p.check(b.Internal == nil || !*b.Internal, "Internal domains are not there yet: apps reach each other through their routes")
	p.check(b.RouterGroup == nil, "Router groups and TCP domains are not there yet")
	p.check(b.Relationships.Organization.guid() != "" || len(b.Relationships.SharedOrganizations.Data) == 0,
		"Relationships cannot contain shared_organizations without an owning organization.")
	return p.err()
}

func createDomain(r *request) (response, error) {
	var body domainBody
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	body.Name = strings.ToLower(body.Name)
	org := body.Relationships.Organization.guid()
	if err := r.mayCreateDomain(org, body.Relationships.SharedOrganizations.guids()); err != nil {
		return response{}, err
	}
	if err := body.check(); err != nil {
		return response{}, err
	}
	if base := r.api.Domain; org != "" && (body.Name == base || strings.HasSuffix(body.Name, "."+base)) {
		return response{}, cf.ErrUnprocessable.With("The \"%s\" domain is reserved and cannot be used for org-scoped domains.", body.Name)
	}
	if host, found := strings.CutSuffix(body.Name, "."+r.api.Domain); found && slices.Contains(systemHosts, host) {
		return response{}, cf.ErrUnprocessable.With("The domain name \"%s\" is reserved for the platform", body.Name)
	}
	labels, err := body.Metadata.fresh()
	if err != nil {
		return response{}, err
	}
	d := cf.Domain{Resource: r.resource(), Metadata: labels, Name: body.Name, OrgGUID: org}
	for _, o := range body.Relationships.SharedOrganizations.guids() {
		if o != org {
			d.SharedOrgs = append(d.SharedOrgs, o)
		}
	}
	ctx := r.audit("audit.domain.create", domainParty(d), org, "", map[string]any{"name": d.Name})
	if err := r.store().CreateDomain(ctx, d); err != nil {
		return response{}, err
	}
	return created(presentDomain(r, d))
}

func (r *request) mayCreateDomain(org string, sharedWith []string) error {
	if org == "" {
		return r.requireAdmin()
	}
	for _, o := range append([]string{org}, sharedWith...) {
		if _, err := r.organization(o, auth.OrgRead); err != nil {
			return cf.ErrUnprocessable.With("Organization with guid '%s' does not exist or you do not have access to it.", cut(o))
		}
		if _, err := r.organization(o, auth.DomainWrite); err != nil {
			return err
		}
	}
	return r.requireFlag("private_domain_creation")
}

func updateDomain(r *request) (response, error) {
	d, err := r.writableDomain()
	if err != nil {
		return response{}, err
	}
	patch, err := r.metadataOnly()
	if err != nil {
		return response{}, err
	}
	return r.changeDomain(d, "audit.domain.update", state.DomainUpdate{Metadata: patch})
}

// changeDomain applies an update and answers with the domain.
func (r *request) changeDomain(d cf.Domain, event string, u state.DomainUpdate) (response, error) {
	u.GUID, u.At = d.GUID, r.now
	d, err := r.store().UpdateDomain(r.audit(event, domainParty(d), d.OrgGUID, "", nil), u)
	if err != nil {
		return response{}, err
	}
	return ok(presentDomain(r, d))
}

func deleteDomain(r *request) (response, error) {
	d, err := r.writableDomain()
	if err != nil {
		return response{}, err
	}
	ctx := r.audit("audit.domain.delete-request", domainParty(d), d.OrgGUID, "", nil)
	if err := r.store().DeleteDomain(ctx, state.Target{GUID: d.GUID, At: r.now}); err != nil {
		return response{}, err
	}
	return r.finished("domain.delete", d.GUID, nil)
}

func shareDomain(r *request) (response, error) {
	d, err := r.writableDomain()
	if err != nil {
		return response{}, err
	}
	var body relations
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	for _, o := range body.guids() {
		if _, err := r.organization(o, auth.DomainWrite); err != nil {
			return response{}, cf.ErrUnprocessable.With("Organization with guid '%s' does not exist or you do not have access to it.", cut(o))
		}
	}
	if resp, err := r.changeDomain(d, "audit.domain.share", state.DomainUpdate{Share: body.guids()}); err != nil {
		return resp, err
	}
	all := append(slices.Clone(d.SharedOrgs), body.guids()...)
	slices.Sort(all)
	return ok(toMany(slices.Compact(all)))
}

func unshareDomain(r *request) (response, error) {
	d, err := r.domain(r.guid())
	if err != nil {
		return response{}, err
	}
	org := r.PathValue("org")
	if !r.can.Can(auth.DomainWrite, d.OrgGUID, "") && !r.can.Can(auth.DomainWrite, org, "") {
		return response{}, cf.ErrNotAuthorized
	}
	if !slices.Contains(d.SharedOrgs, org) {
		return response{}, cf.ErrUnprocessable.With("Unable to unshare domain from organization with name '%s'. Ensure the domain is shared to this organization.", cut(org))
	}
	if resp, err := r.changeDomain(d, "audit.domain.unshare", state.DomainUpdate{Unshare: org}); err != nil {
		return resp, err
	}
	return noContent()
}

func routeReservations(r *request) (response, error) {
	d, err := r.domain(r.guid())
	if err != nil {
		return response{}, err
	}
	_, taken := r.view.RouteByAddress(d.GUID, r.query.Get("host"), r.query.Get("path"))
	return ok(map[string]bool{"matching_route": taken})
}
