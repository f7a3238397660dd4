package api

import (
	"cmp"
	"math/rand/v2"
	"strings"

	"github.com/stackato/stackato/controller/api/manifest"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

// planRoutes follows Cloud Foundry: random-route and default-route are only
// for apps without a route.
func (c *manifestChange) planRoutes() error {
	if c.want.NoRoute {
		c.batch.UnmapApp(state.Target{GUID: c.app.GUID, At: c.r.now})
		return nil
	}
	for _, want := range c.want.Routes {
		if err := c.planRoute(want); err != nil {
			return err
		}
	}
	if len(c.want.Routes) > 0 || len(c.r.view.DestinationsOfApp(c.app.GUID)) > 0 {
		return nil
	}
	host := normalHost(c.want.Name)
	switch {
	case c.want.RandomRoute:
		host = randomHost(host)
	case !c.want.DefaultRoute:
		return nil
	}
	domain, found := c.r.defaultDomainOf(c.space.OrgGUID)
	if !found {
		return cf.ErrUnprocessable.With("There is no domain for a route: create one, or push with no-route")
	}
	if host == "" {
		return cf.ErrUnprocessable.With("The app's name makes no host name: give the app a route (field routes)")
	}
	return c.mapTo(domain, host, "", manifest.Route{})
}

// planRoute maps the address, whose domain is the longest one that fits.
func (c *manifestChange) planRoute(want manifest.Route) error {
	address := strings.TrimSpace(want.URL)
	if _, rest, hasScheme := strings.Cut(address, "://"); hasScheme {
		address = rest
	}
	name, path, hasPath := strings.Cut(address, "/")
	if hasPath {
		path = strings.TrimRight("/"+path, "/")
	}
	name = strings.ToLower(name)
	if strings.Contains(name, ":") {
		return cf.ErrUnprocessable.With("The route '%s' has a port: TCP routes are not supported yet (field routes)", cut(want.URL))
	}
	domain, host, found := c.r.splitHost(name, c.space.OrgGUID)
	if !found {
		return cf.ErrUnprocessable.With("The route '%s' did not match any existing domains. (field routes)", cut(want.URL))
	}
	return c.mapTo(domain, host, path, want)
}

// splitHost finds the longest domain that ends a name.
func (r *request) splitHost(name, org string) (domain cf.Domain, host string, found bool) {
	for rest := name; rest != ""; {
		if d, known := r.view.DomainByName(rest); known && d.UsableBy(org) {
			return d, strings.TrimSuffix(strings.TrimSuffix(name, rest), "."), true
		}
		_, rest, _ = strings.Cut(rest, ".")
	}
	return domain, "", false
}

// mapTo maps the app to an address, which is made if it is not there.
func (c *manifestChange) mapTo(domain cf.Domain, host, path string, want manifest.Route) error {
	route, found := c.r.view.RouteByAddress(domain.GUID, host, path)
	if found && !route.UsableIn(c.space.GUID) {
		return cf.ErrUnprocessable.With("The route '%s' belongs to another space (field routes)", route.URL(domain.Name))
	}
	if !found {
		var err error
		if route, err = c.r.newRoute(c.space, domain, host, path); err != nil {
			return err
		}
		route.Resource, route.LoadBalancing = c.resource(), want.LoadBalancing
		c.batch.CreateRoute(route)
	} else if want.LoadBalancing != "" && want.LoadBalancing != route.LoadBalancing {
		c.batch.UpdateRoute(state.RouteUpdate{GUID: route.GUID, LoadBalancing: &want.LoadBalancing, At: c.r.now})
	}
	c.batch.MapRoute(state.RouteMapping{RouteGUID: route.GUID, At: c.r.now, Destinations: []cf.Destination{{
		Resource: c.resource(), RouteGUID: route.GUID, AppGUID: c.app.GUID, ProcessType: cf.ProcessWeb,
		Protocol: cmp.Or(want.Protocol, cf.ProtocolHTTP1),
	}}})
	return nil
}

// normalHost makes a host name of an app's name.
func normalHost(name string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-':
			b.WriteRune(c)
		case c == '_', c == ' ', c == '.':
			b.WriteByte('-')
		}
	}
	host := strings.Trim(b.String(), "-")
	return strings.Trim(host[:min(len(host), 63)], "-")
}

var (
	adjectives = strings.Fields("agile amber brave bright calm clever cosmic daring eager fair fluent gentle happy humble jolly keen lively lucky mellow noble patient proud quick quiet rapid shiny silent smart sunny swift tidy wise")
	animals    = strings.Fields("badger bear beaver bison cat crane deer dolphin eagle elk falcon finch fox gecko hare heron ibis koala lark lemur lynx mole otter owl panda puffin raven robin seal stork swan wolf")
)

// randomHost is host with two words and two letters, as cf users know it.
func randomHost(host string) string {
	letter := func() byte { return byte('a' + rand.IntN(26)) }                                                                                //nolint:gosec // a name, no secret
	words := "-" + adjectives[rand.IntN(len(adjectives))] + "-" + animals[rand.IntN(len(animals))] + "-" + string([]byte{letter(), letter()}) //nolint:gosec // a name, no secret
	return strings.TrimPrefix(host[:min(len(host), 63-len(words))]+words, "-")
}
