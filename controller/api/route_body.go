package api

import (
	"regexp"
	"slices"
	"strings"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
)

// systemHosts are the hosts below the cluster's domain that are served by
// controllers, now or later. "*" would take every name that nobody has.
var systemHosts = []string{"api", "console", "log-cache", "login", "ssh", "uaa", "*"}

type routeBody struct {
	Host          string        `json:"host"`
	Path          string        `json:"path"`
	Port          *int          `json:"port"`
	Options       *routeOptions `json:"options"`
	Metadata      *metadataBody `json:"metadata"`
	Relationships struct {
		Space  *relation `json:"space"`
		Domain *relation `json:"domain"`
	} `json:"relationships"`
}

func (b routeBody) check() error {
	var p problems
	p.check(b.Relationships.Space.guid() != "", "Relationships 'space' must be structured like this: \"space: {\"data\": {\"guid\": \"valid-guid\"}}\"")
	p.check(b.Relationships.Domain.guid() != "", "Relationships 'domain' must be structured like this: \"domain: {\"data\": {\"guid\": \"valid-guid\"}}\"")
	p.check(b.Port == nil, "Port cannot be set: TCP routes are not there yet")
	b.Options.check(&p)
	return p.err()
}

// routeOptions are the options of one route.
type routeOptions struct {
	LoadBalancing optional[string] `json:"loadbalancing"`
}

func (o *routeOptions) check(p *problems) {
	p.check(slices.Contains([]string{"", "round-robin", "least-connection"}, o.value()),
		"Options Loadbalancing must be one of 'round-robin, least-connection' if present")
}

// value is "" for the router's default.
func (o *routeOptions) value() string {
	if o == nil {
		return ""
	}
	return o.LoadBalancing.value
}

var routeHost = regexp.MustCompile(`^([\w-]+|\*)?$`)

// addressProblems checks the parts of a route's address.
func addressProblems(host, path string) problems {
	var p problems
	p.check(routeHost.MatchString(host), "Host must be either \"*\" or contain only alphanumeric characters, \"_\", or \"-\"")
	p.check(len(host) <= 63, "Host is too long (maximum is 63 characters)")
	if path == "" {
		return p
	}
	p.check(len(path) <= 128, "Path is too long (maximum is 128 characters)")
	p.check(strings.HasPrefix(path, "/"), "Path must start with a '/'")
	p.check(path != "/", "Path cannot be a single '/'")
	p.check(!strings.Contains(path, "?"), "Path cannot contain a question mark")
	p.check(!strings.ContainsFunc(path, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`#"<>\^{|}`, c) }),
		"Path contains characters that cannot stand in a URL")
	p.check(!strings.HasSuffix(path, "/") || path == "/", "Path cannot end with a '/'")
	p.check(!strings.Contains(path, "//"), "Path cannot contain '//'")
	return p
}

// newRoute is a checked route that is not yet in the state. What depends on
// other routes is checked when it is created.
func (r *request) newRoute(s cf.Space, d cf.Domain, host, path string) (cf.Route, error) {
	rt := cf.Route{Resource: r.resource(), Host: strings.ToLower(host), Path: path, DomainGUID: d.GUID, SpaceGUID: s.GUID}
	return rt, r.checkNewRoute(rt, d)
}

// checkNewRoute checks a route that is to be created in a domain.
func (r *request) checkNewRoute(rt cf.Route, d cf.Domain) error {
	if err := r.requireFlag("route_creation"); err != nil {
		return err
	}
	p := addressProblems(rt.Host, rt.Path)
	p.check(len(rt.Host)+1+len(d.Name) <= 253, "Host combined with domain name must be no more than 253 characters")
	p.check(d.OrgGUID != "" || rt.Host != "", "Missing host. Routes in shared domains must have a host defined.")
	if err := p.err(); err != nil {
		return err
	}
	if d.Name == r.api.Domain && slices.Contains(systemHosts, rt.Host) {
		return cf.ErrUnprocessable.With("Route conflicts with a reserved system route.")
	}
	return nil
}

// spaceNamed is a space that a body names, for which the user may do action.
func (r *request) spaceNamed(guid string, action auth.Action) bool {
	s, found := r.view.Space(guid)
	return found && r.can.Can(action, s.OrgGUID, s.GUID)
}
