package api

import (
	"slices"
	"strconv"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (a *API) routeRoutes() []route {
	return []route{
		{"POST", "/v3/routes", auth.RouteCreate, "Create a route.", createRoute},
		{"GET", "/v3/routes", auth.RouteRead, "List routes.", listRoutes},
		{"GET", "/v3/routes/{guid}", auth.RouteRead, "Show a route.", getRoute},
		{"PATCH", "/v3/routes/{guid}", auth.RouteCreate, "Label a route or change its options.", updateRoute},
		{"DELETE", "/v3/routes/{guid}", auth.RouteCreate, "Delete a route (job).", deleteRoute},
		{"GET", "/v3/apps/{guid}/routes", auth.AppRead, "List the routes of an app.", listAppRoutes},
		{"GET", "/v3/routes/{guid}/destinations", auth.RouteRead, "List where a route leads.", listDestinations},
		{"POST", "/v3/routes/{guid}/destinations", auth.RouteMap, "Add destinations to a route.", addDestinations},
		{"PATCH", "/v3/routes/{guid}/destinations", auth.RouteMap, "Replace all destinations of a route.", replaceDestinations},
		{"PATCH", "/v3/routes/{guid}/destinations/{destination}", auth.RouteMap, "Change the protocol of a destination.", updateDestination},
		{"DELETE", "/v3/routes/{guid}/destinations/{destination}", auth.RouteMap, "Remove a destination.", removeDestination},
		{"GET", "/v3/routes/{guid}/relationships/shared_spaces", auth.RouteRead, "List the spaces that a route is shared with.", listRouteSpaces},
		{"POST", "/v3/routes/{guid}/relationships/shared_spaces", auth.RouteCreate, "Share a route with spaces.", shareRoute},
		{"DELETE", "/v3/routes/{guid}/relationships/shared_spaces/{space}", auth.RouteCreate, "Stop sharing a route.", unshareRoute},
		{"PATCH", "/v3/routes/{guid}/relationships/space", auth.RouteCreate, "Give a route to another space.", moveRoute},
	}
}

type routeJSON struct {
	head
	Protocol      string              `json:"protocol"`
	Host          string              `json:"host"`
	Path          string              `json:"path"`
	Port          *int                `json:"port"`
	URL           string              `json:"url"`
	Destinations  []destinationJSON   `json:"destinations"`
	Options       map[string]string   `json:"options"`
	Metadata      metadata            `json:"metadata"`
	Relationships map[string]relation `json:"relationships"`
	Links         links               `json:"links"`
}

func presentRoute(r *request, rt cf.Route) any {
	self := r.link("/v3/routes/", rt.GUID)
	domain, _ := r.view.Domain(rt.DomainGUID)
	out := routeJSON{
		head: headOf(rt.Resource), Protocol: "http", Host: rt.Host, Path: rt.Path, URL: rt.URL(domain.Name),
		Destinations: presentDestinations(r, rt.GUID), Options: map[string]string{}, Metadata: metadataOf(rt.Metadata),
		Relationships: map[string]relation{"space": toOne(rt.SpaceGUID), "domain": toOne(rt.DomainGUID)},
		Links: links{
			"self": {Href: self}, "space": {Href: r.link("/v3/spaces/", rt.SpaceGUID)},
			"domain": {Href: r.link("/v3/domains/", rt.DomainGUID)}, "destinations": {Href: self + "/destinations"},
		},
	}
	if rt.LoadBalancing != "" {
		out.Options["loadbalancing"] = rt.LoadBalancing
	}
	return out
}

func routeParty(r *request, rt cf.Route) cf.EventParty {
	d, _ := r.view.Domain(rt.DomainGUID)
	return cf.EventParty{GUID: rt.GUID, Type: "route", Name: rt.URL(d.Name)}
}

// seesRoute: a route is seen from its space and those it is shared with.
func (r *request) seesRoute() func(*cf.Route) bool {
	may := r.spacesWith(auth.RouteRead)
	return func(rt *cf.Route) bool { return may(rt.SpaceGUID) || slices.ContainsFunc(rt.SharedSpaces, may) }
}

// routeFor is the path's route, if the user may do action with it.
func (r *request) routeFor(action auth.Action) (cf.Route, error) {
	rt, found := r.view.Route(r.guid())
	if !found || !r.seesRoute()(&rt) {
		return rt, cf.ErrNotFound.With("Route not found")
	}
	if r.spacesWith(action)(rt.SpaceGUID) {
		return rt, r.inSpace(rt.SpaceGUID, action, action, "Route")
	}
	if action == auth.RouteMap && slices.ContainsFunc(rt.SharedSpaces, r.spacesWith(action)) {
		return rt, nil
	}
	if action == auth.RouteRead {
		return rt, nil
	}
	return rt, cf.ErrNotAuthorized
}

func routeListing(r *request) listing[cf.Route] {
	return listing[cf.Route]{
		resource: func(rt *cf.Route) cf.Resource { return rt.Resource },
		metadata: func(rt *cf.Route) cf.Metadata { return rt.Metadata },
		filters: map[string]func(*cf.Route) string{
			"hosts":              func(rt *cf.Route) string { return rt.Host },
			"paths":              func(rt *cf.Route) string { return rt.Path },
			"ports":              func(*cf.Route) string { return strconv.Itoa(0) },
			"domain_guids":       func(rt *cf.Route) string { return rt.DomainGUID },
			"organization_guids": func(rt *cf.Route) string { return r.orgOfSpace(rt.SpaceGUID) },
		},
		params:   []string{"space_guids", "app_guids", "service_instance_guids"},
		includes: []string{"domain", "space", "space.organization"},
		included: includedWithRoutes,
		present:  func(r *request, rt cf.Route) any { return presentRoute(r, rt) },
	}
}

func includedWithRoutes(r *request, what map[string]bool, rows []cf.Route) map[string]any {
	var domains, spaces, orgs []string
	for _, rt := range rows {
		domains, spaces, orgs = append(domains, rt.DomainGUID), append(spaces, rt.SpaceGUID), append(orgs, r.orgOfSpace(rt.SpaceGUID))
	}
	out := map[string]any{}
	if what["domain"] {
		out["domains"] = once(domains, r.view.Domain, func(d cf.Domain) any { return presentDomain(r, d) })
	}
	if what["space"] || what["space.organization"] {
		out["spaces"] = r.includedSpaces(spaces)
	}
	if what["space.organization"] {
		out["organizations"] = r.includedOrganizations(orgs)
	}
	return out
}

func listRoutes(r *request) (response, error) {
	sees := r.seesRoute()
	match := sees
	if _, asked := r.query["space_guids"]; asked {
		spaces := list(r.query.Get("space_guids"))
		in := func(s string) bool { return slices.Contains(spaces, s) }
		match = func(rt *cf.Route) bool {
			return (in(rt.SpaceGUID) || slices.ContainsFunc(rt.SharedSpaces, in)) && sees(rt)
		}
	}
	rows := r.view.Routes
	if _, asked := r.query["app_guids"]; asked {
		rows = func() []cf.Route { return r.routesOfApps(list(r.query.Get("app_guids"))) }
	}
	if _, asked := r.query["service_instance_guids"]; asked {
		rows = func() []cf.Route { return nil } // route services are not there yet
	}
	return routeListing(r).serve(r, where(rows(), match))
}

// routesOfApps lists each route once.
func (r *request) routesOfApps(apps []string) []cf.Route {
	var out []cf.Route
	seen := map[string]bool{}
	for _, a := range apps {
		for _, rt := range r.view.RoutesOfApp(a) {
			if !seen[rt.GUID] {
				seen[rt.GUID] = true
				out = append(out, rt)
			}
		}
	}
	return out
}

func listAppRoutes(r *request) (response, error) {
	a, err := r.app(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	return routeListing(r).serve(r, where(r.view.RoutesOfApp(a.GUID), func(*cf.Route) bool { return true }))
}

func getRoute(r *request) (response, error) {
	rt, err := r.routeFor(auth.RouteRead)
	if err != nil {
		return response{}, err
	}
	what, err := r.include("domain", "space", "space.organization")
	if err != nil {
		return response{}, err
	}
	out, _ := presentRoute(r, rt).(routeJSON)
	if len(what) == 0 {
		return ok(out)
	}
	return ok(struct {
		routeJSON
		Included map[string]any `json:"included"`
	}{out, includedWithRoutes(r, what, []cf.Route{rt})})
}

func createRoute(r *request) (response, error) {
	var body routeBody
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	if err := body.check(); err != nil {
		return response{}, err
	}
	s, err := r.space(body.Relationships.Space.guid(), auth.SpaceRead)
	if err != nil {
		return response{}, cf.ErrUnprocessable.With("Invalid space. Ensure that the space exists and you have access to it.")
	}
	if _, err := r.space(s.GUID, auth.RouteCreate); err != nil {
		return response{}, err
	}
	d, err := r.domain(body.Relationships.Domain.guid())
	if err != nil {
		return response{}, cf.ErrUnprocessable.With("Invalid domain. Ensure that the domain exists and you have access to it.")
	}
	rt, err := r.newRoute(s, d, body.Host, body.Path)
	if err != nil {
		return response{}, err
	}
	rt.LoadBalancing = body.Options.value()
	if rt.Metadata, err = body.Metadata.fresh(); err != nil {
		return response{}, err
	}
	ctx := r.audit("audit.route.create", routeParty(r, rt), s.OrgGUID, s.GUID, map[string]any{"host": rt.Host, "path": rt.Path, "domain": d.Name})
	if err := r.store().CreateRoute(ctx, rt); err != nil {
		return response{}, err
	}
	return created(presentRoute(r, rt))
}

func updateRoute(r *request) (response, error) {
	rt, err := r.routeFor(auth.RouteCreate)
	if err != nil {
		return response{}, err
	}
	var body struct {
		Options  *routeOptions `json:"options"`
		Metadata *metadataBody `json:"metadata"`
	}
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	var p problems
	body.Options.check(&p)
	if err := p.err(); err != nil {
		return response{}, err
	}
	patch, err := body.Metadata.patch()
	if err != nil {
		return response{}, err
	}
	u := state.RouteUpdate{Metadata: patch}
	if body.Options != nil && body.Options.LoadBalancing.set {
		v := body.Options.value()
		u.LoadBalancing = &v
	}
	rt, err = r.changeRoute(rt, "audit.route.update", u)
	if err != nil {
		return response{}, err
	}
	return ok(presentRoute(r, rt))
}

// changeRoute applies an update.
func (r *request) changeRoute(rt cf.Route, event string, u state.RouteUpdate) (cf.Route, error) {
	u.GUID, u.At = rt.GUID, r.now
	return r.store().UpdateRoute(r.audit(event, routeParty(r, rt), r.orgOfSpace(rt.SpaceGUID), rt.SpaceGUID, nil), u)
}

func deleteRoute(r *request) (response, error) {
	rt, err := r.routeFor(auth.RouteCreate)
	if err != nil {
		return response{}, err
	}
	ctx := r.audit("audit.route.delete-request", routeParty(r, rt), r.orgOfSpace(rt.SpaceGUID), rt.SpaceGUID, map[string]any{"recursive": true})
	if err := r.store().DeleteRoute(ctx, state.Target{GUID: rt.GUID, At: r.now}); err != nil {
		return response{}, err
	}
	return r.finished("route.delete", rt.GUID, nil)
}
