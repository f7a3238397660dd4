package state

import (
	"context"
	"strings"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

var routes = newTable[cf.Route]("cf_routes", byGUID(),
	uniqueKey("address", func(r *cf.Route) string { return addressKey(r.DomainGUID, r.Host, r.Path) }),
	byKey("host", func(r *cf.Route) string { return hostKey(r.DomainGUID, r.Host) }),
	by("space", "SpaceGUID"), by("domain", "DomainGUID"))

func hostKey(domain, host string) string { return domain + "/" + strings.ToLower(host) }
func addressKey(domain, host, path string) string {
	return hostKey(domain, host) + "/" + strings.ToLower(path)
}

// Route returns one route.
func (v *View) Route(guid string) (cf.Route, bool) { return routes.get(v, "id", guid) }

// RouteByAddress finds the route of a host and path in a domain.
func (v *View) RouteByAddress(domainGUID, host, path string) (cf.Route, bool) {
	return routes.get(v, "address", addressKey(domainGUID, host, path))
}

// Routes returns all routes, in no useful order.
func (v *View) Routes() []cf.Route { return routes.list(v, "id") }

// RoutesOfSpace returns the routes that a space owns.
func (v *View) RoutesOfSpace(guid string) []cf.Route { return routes.list(v, "space", guid) }

// RoutesOfApp returns the routes that lead to an app, each once.
func (v *View) RoutesOfApp(guid string) []cf.Route {
	var out []cf.Route
	seen := map[string]bool{}
	for d := range destinations.each(v, "app", guid) {
		if r, ok := routes.get(v, "id", d.RouteGUID); ok && !seen[r.GUID] {
			seen[r.GUID] = true
			out = append(out, r)
		}
	}
	return out
}

func getRoute(r reader, guid string) (cf.Route, error) {
	route, ok := routes.get(r, "id", guid)
	if !ok {
		return route, cf.ErrNotFound.With("Route not found")
	}
	return route, nil
}

var createRoute = newAudited("cf.route.create", 1, func(tx *Tx, in cf.Route) (none, error) {
	d, ok := domains.get(tx, "id", in.DomainGUID)
	if !ok {
		return none{}, cf.ErrUnprocessable.With("Invalid domain. Ensure that the domain exists and you have access to it.")
	}
	s, ok := spaces.get(tx, "id", in.SpaceGUID)
	if !ok {
		return none{}, cf.ErrUnprocessable.With("Invalid space. Ensure that the space exists and you have access to it.")
	}
	o, err := getOrganization(tx, s.OrgGUID)
	if err != nil {
		return none{}, err
	}
	if !d.UsableBy(o.GUID) {
		return none{}, cf.ErrUnprocessable.With("Invalid domain. Domain '%s' is not available in organization '%s'.", d.Name, o.Name)
	}
	if err := checkAddress(tx, in, d); err != nil {
		return none{}, err
	}
	if err := checkRouteQuota(tx, s.GUID); err != nil {
		return none{}, err
	}
	routes.put(tx, in)
	return none{}, nil
})

// checkAddress refuses an address that is taken, stands in for a domain, or
// shares its host with a route of another space.
func checkAddress(tx *Tx, in cf.Route, d cf.Domain) error {
	if routes.has(tx, "address", addressKey(in.DomainGUID, in.Host, in.Path)) {
		return cf.ErrUnprocessable.With("Route already exists%s for domain '%s'.", addressWords(in), d.Name)
	}
	if in.Host != "" && in.Host != "*" {
		if other, taken := domains.get(tx, "name", in.Host+"."+d.Name); taken {
			return cf.ErrUnprocessable.With("Route conflicts with domain '%s'.", other.Name)
		}
	}
	if other, taken := routes.get(tx, "host", hostKey(in.DomainGUID, in.Host)); taken && other.SpaceGUID != in.SpaceGUID {
		return cf.ErrUnprocessable.With("Routes for this host and domain have been reserved for another space.")
	}
	return nil
}

func addressWords(r cf.Route) string {
	var words []string
	if r.Host != "" {
		words = append(words, "host '"+r.Host+"'")
	}
	if r.Path != "" {
		words = append(words, "path '"+r.Path+"'")
	}
	if len(words) == 0 {
		return ""
	}
	return " with " + strings.Join(words, " and ")
}

// CreateRoute adds a route; its host is in lower case.
func (s *Store) CreateRoute(ctx context.Context, r cf.Route) error {
	_, err := createRoute.do(ctx, s, r)
	return err
}

// CreateRoute is like Store.CreateRoute.
func (b *Batch) CreateRoute(r cf.Route) { createRoute.queue(b, r) }

// RouteUpdate changes what is not nil or empty.
type RouteUpdate struct {
	GUID          string           `json:"guid"`
	LoadBalancing *string          `json:"load_balancing,omitempty"`
	SpaceGUID     *string          `json:"space_guid,omitempty"` // moves the route
	Share         []string         `json:"share,omitempty"`      // with these spaces
	Unshare       string           `json:"unshare,omitempty"`
	Metadata      cf.MetadataPatch `json:"metadata,omitzero"`
	At            time.Time        `json:"at"`
}

var updateRoute = newAudited("cf.route.update", 1, func(tx *Tx, in RouteUpdate) (cf.Route, error) {
	r, err := getRoute(tx, in.GUID)
	if err != nil {
		return r, err
	}
	set(&r.LoadBalancing, in.LoadBalancing)
	if in.SpaceGUID != nil && *in.SpaceGUID != r.SpaceGUID {
		if err := moveRoute(tx, &r, *in.SpaceGUID); err != nil {
			return r, err
		}
	}
	for _, s := range in.Share {
		if !spaces.has(tx, "id", s) {
			return r, cf.ErrUnprocessable.With("Unable to share route %s with spaces ['%s']. Ensure the spaces exist and that you have access to them.", r.GUID, s)
		}
		if s != r.SpaceGUID {
			r.SharedSpaces = with(r.SharedSpaces, s)
		}
	}
	if in.Unshare != "" {
		r.SharedSpaces = without(r.SharedSpaces, in.Unshare)
		for _, d := range destinations.list(tx, "route", r.GUID) {
			if a, ok := apps.get(tx, "id", d.AppGUID); ok && a.SpaceGUID == in.Unshare {
				destinations.remove(tx, "id", d.GUID)
			}
		}
	}
	r.Metadata = r.Patched(in.Metadata)
	r.UpdatedAt = in.At
	routes.put(tx, r)
	return r, nil
})

func moveRoute(tx *Tx, r *cf.Route, space string) error {
	s, err := getSpace(tx, space)
	if err != nil {
		return err
	}
	if d, ok := domains.get(tx, "id", r.DomainGUID); ok && !d.UsableBy(s.OrgGUID) {
		return cf.ErrUnprocessable.With("Unable to transfer owner of route '%s' to space '%s'. Target space does not have access to route's domain", r.URL(d.Name), s.Name)
	}
	if err := checkRouteQuota(tx, space); err != nil {
		return err
	}
	r.SharedSpaces = without(with(r.SharedSpaces, r.SpaceGUID), space)
	r.SpaceGUID = space
	return nil
}

// UpdateRoute changes a route and returns it.
func (s *Store) UpdateRoute(ctx context.Context, u RouteUpdate) (cf.Route, error) {
	return updateRoute.do(ctx, s, u)
}

var deleteRoute = newAudited("cf.route.delete", 1, func(tx *Tx, in Target) (none, error) {
	if _, err := getRoute(tx, in.GUID); err != nil {
		return none{}, err
	}
	removeRoute(tx, in.GUID)
	return none{}, nil
})

// DeleteRoute removes a route.
func (s *Store) DeleteRoute(ctx context.Context, t Target) error {
	_, err := deleteRoute.do(ctx, s, t)
	return err
}

func removeRoute(tx *Tx, guid string) {
	destinations.remove(tx, "route", guid)
	routes.remove(tx, "id", guid)
}

var deleteUnmapped = newAudited("cf.route.delete_unmapped", 1, func(tx *Tx, in Target) (purged, error) {
	return purged{!removeSpaceRoutes(tx, in.GUID, true)}, nil
})

// DeleteUnmappedRoutes removes a part of the routes of a space that lead
// nowhere; call it until it returns true.
func (s *Store) DeleteUnmappedRoutes(ctx context.Context, t Target) (bool, error) {
	out, err := deleteUnmapped.do(ctx, s, t)
	return out.Done, err
}

// removeSpaceRoutes removes up to 500 routes of a space and reports whether
// there are more.
func removeSpaceRoutes(tx *Tx, space string, unmappedOnly bool) (left bool) {
	n := 0
	for _, r := range routes.list(tx, "space", space) {
		if unmappedOnly && destinations.has(tx, "route", r.GUID) {
			continue
		}
		if n++; n > 500 {
			return true
		}
		removeRoute(tx, r.GUID)
	}
	return false
}

// UpdateRoute is like Store.UpdateRoute.
func (b *Batch) UpdateRoute(u RouteUpdate) { updateRoute.queue(b, u) }
