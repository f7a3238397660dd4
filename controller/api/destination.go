package api

import (
	"fmt"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

type destinationJSON struct {
	GUID      string         `json:"guid"`
	CreatedAt string         `json:"created_at"`
	UpdatedAt string         `json:"updated_at"`
	App       destinationApp `json:"app"`
	Weight    *int           `json:"weight"`
	Port      int            `json:"port"`
	Protocol  string         `json:"protocol"`
}

type destinationApp struct {
	GUID    string `json:"guid"`
	Process *struct {
		Type string `json:"type"`
	} `json:"process"`
}

// appPort is where apps listen in their container.
const appPort = 8080

func presentDestination(d cf.Destination) destinationJSON {
	out := destinationJSON{
		GUID: d.GUID, CreatedAt: stamp(d.CreatedAt), UpdatedAt: stamp(d.UpdatedAt),
		App: destinationApp{GUID: d.AppGUID}, Port: d.Port, Protocol: d.Protocol,
	}
	out.App.Process = &struct {
		Type string `json:"type"`
	}{d.ProcessType}
	if out.Port == 0 {
		out.Port = appPort
	}
	return out
}

func presentDestinations(r *request, route string) []destinationJSON {
	out := []destinationJSON{}
	for _, d := range r.view.DestinationsOfRoute(route) {
		out = append(out, presentDestination(d))
	}
	return out
}

// destinationsOf answers with what a route leads to in a view of now.
func (r *request) destinationsOf(rt cf.Route) (response, error) {
	self := r.link("/v3/routes/", rt.GUID)
	return ok(map[string]any{
		"destinations": presentDestinations(r, rt.GUID),
		"links":        links{"self": {Href: self + "/destinations"}, "route": {Href: self}},
	})
}

func listDestinations(r *request) (response, error) {
	rt, err := r.routeFor(auth.RouteRead)
	if err != nil {
		return response{}, err
	}
	return r.destinationsOf(rt)
}

type destinationsBody struct {
	Destinations []struct {
		App      destinationApp `json:"app"`
		Weight   *int           `json:"weight"`
		Port     *int           `json:"port"`
		Protocol *string        `json:"protocol"`
	} `json:"destinations"`
}

// destinations checks the body and makes rows of it.
func (b destinationsBody) destinations(r *request) ([]cf.Destination, error) {
	var p problems
	p.check(b.Destinations != nil, "Destinations must be an array containing between 1 and 100 destination objects.")
	p.check(len(b.Destinations) <= 100, "Destinations must be an array containing between 1 and 100 destination objects.")
	var out []cf.Destination
	for i, in := range b.Destinations {
		where := fmt.Sprintf("Destinations[%d]: ", i)
		p.check(in.App.GUID != "", where+"must have an \"app\" with a \"guid\"")
		p.check(in.Weight == nil, where+"weighted destinations are not there yet")
		p.check(in.Port == nil || *in.Port == appPort, where+"port must be 8080, the port of every app")
		p.check(in.Protocol == nil || *in.Protocol == cf.ProtocolHTTP1 || *in.Protocol == cf.ProtocolHTTP2, where+"protocol must be 'http1' or 'http2'.")
		typ := cf.ProcessWeb
		if in.App.Process != nil && in.App.Process.Type != "" {
			typ = in.App.Process.Type
		}
		p.check(len(typ) <= 255, where+"the type of the process is too long")
		d := r.newDestination("", in.App.GUID, typ)
		d.Protocol = deref(in.Protocol, d.Protocol)
		out = append(out, d)
	}
	return out, p.err()
}

// newDestination is a row that is not yet in the state.
func (r *request) newDestination(routeGUID, appGUID, processType string) cf.Destination {
	return cf.Destination{
		Resource: r.resource(), RouteGUID: routeGUID, AppGUID: appGUID, ProcessType: processType, Protocol: cf.ProtocolHTTP1,
	}
}

func addDestinations(r *request) (response, error)     { return r.mapDestinations(false) }
func replaceDestinations(r *request) (response, error) { return r.mapDestinations(true) }

func (r *request) mapDestinations(replace bool) (response, error) {
	rt, err := r.routeFor(auth.RouteMap)
	if err != nil {
		return response{}, err
	}
	var body destinationsBody
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	rows, err := body.destinations(r)
	if err != nil {
		return response{}, err
	}
	for _, d := range rows {
		a, found := r.view.App(d.AppGUID)
		if !found || !r.spaceNamed(a.SpaceGUID, auth.AppRead) {
			return response{}, cf.ErrUnprocessable.With("App(s) with guid(s) \"%s\" do not exist or you do not have access.", cut(d.AppGUID))
		}
		if !r.spaceNamed(a.SpaceGUID, auth.RouteMap) {
			return response{}, cf.ErrNotAuthorized
		}
	}
	m := state.RouteMapping{RouteGUID: rt.GUID, Destinations: rows, Replace: replace, At: r.now}
	if err := r.store().MapRoute(r.auditMapping("audit.app.map-route", rt, rows), m); err != nil {
		return response{}, err
	}
	r.view = r.store().Local() // shows what was just written
	return r.destinationsOf(rt)
}

func updateDestination(r *request) (response, error) {
	rt, err := r.routeFor(auth.RouteMap)
	if err != nil {
		return response{}, err
	}
	var body struct {
		Protocol optional[string] `json:"protocol"`
	}
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	protocol := body.Protocol.value
	if protocol == "" {
		protocol = cf.ProtocolHTTP1
	}
	if protocol != cf.ProtocolHTTP1 && protocol != cf.ProtocolHTTP2 {
		return response{}, cf.ErrUnprocessable.With("Destination protocol must be 'http1' or 'http2'.")
	}
	d, err := r.store().UpdateDestination(r.Context(), state.DestinationTarget{
		RouteGUID: rt.GUID, GUID: r.PathValue("destination"), Protocol: protocol, At: r.now,
	})
	if err != nil {
		return response{}, err
	}
	return ok(presentDestination(d))
}

func removeDestination(r *request) (response, error) {
	rt, err := r.routeFor(auth.RouteMap)
	if err != nil {
		return response{}, err
	}
	var gone []cf.Destination
	for _, d := range r.view.DestinationsOfRoute(rt.GUID) {
		if d.GUID == r.PathValue("destination") {
			gone = append(gone, d)
		}
	}
	t := state.DestinationTarget{RouteGUID: rt.GUID, GUID: r.PathValue("destination"), At: r.now}
	if err := r.store().UnmapRoute(r.auditMapping("audit.app.unmap-route", rt, gone), t); err != nil {
		return response{}, err
	}
	return noContent()
}
