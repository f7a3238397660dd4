package api

import (
	"slices"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (r *request) sharedSpaces(rt cf.Route) (response, error) {
	self := r.link("/v3/routes/", rt.GUID, "/relationships/shared_spaces")
	return ok(related{toMany(rt.SharedSpaces).Data, links{"self": {Href: self}}})
}

func listRouteSpaces(r *request) (response, error) {
	rt, err := r.routeFor(auth.RouteRead)
	if err != nil {
		return response{}, err
	}
	return r.sharedSpaces(rt)
}

func shareRoute(r *request) (response, error) {
	rt, err := r.routeFor(auth.RouteCreate)
	if err != nil {
		return response{}, err
	}
	if err := r.requireFlag("route_sharing"); err != nil {
		return response{}, err
	}
	var body relations
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	for _, s := range body.guids() {
		if !r.spaceNamed(s, auth.RouteCreate) {
			return response{}, cf.ErrUnprocessable.With("Unable to share route %s with spaces ['%s']. Ensure the spaces exist and that you have access to them.", rt.GUID, cut(s))
		}
	}
	rt, err = r.changeRoute(rt, "audit.route.share", state.RouteUpdate{Share: body.guids()})
	if err != nil {
		return response{}, err
	}
	return r.sharedSpaces(rt)
}

func unshareRoute(r *request) (response, error) {
	rt, err := r.routeFor(auth.RouteCreate)
	if err != nil {
		return response{}, err
	}
	space := r.PathValue("space")
	if !slices.Contains(rt.SharedSpaces, space) {
		return response{}, cf.ErrUnprocessable.With("Unable to unshare route '%s' from space '%s'. Ensure the space exists and the route has been shared to this space.", rt.GUID, cut(space))
	}
	if _, err := r.changeRoute(rt, "audit.route.unshare", state.RouteUpdate{Unshare: space}); err != nil {
		return response{}, err
	}
	return noContent()
}

func moveRoute(r *request) (response, error) {
	rt, err := r.routeFor(auth.RouteCreate)
	if err != nil {
		return response{}, err
	}
	if err := r.requireFlag("route_sharing"); err != nil {
		return response{}, err
	}
	var body relation
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	to := body.guid()
	if !r.spaceNamed(to, auth.RouteCreate) {
		return response{}, cf.ErrUnprocessable.With("Unable to transfer owner of route '%s' to space '%s'. Ensure the space exists and that you have access to it.", rt.GUID, cut(to))
	}
	if _, err := r.changeRoute(rt, "audit.route.transfer-owner", state.RouteUpdate{SpaceGUID: &to}); err != nil {
		return response{}, err
	}
	return noContent()
}
