package cf

import "strings"

// Route is an address below a domain.
type Route struct {
	Resource
	Metadata
	Host       string `json:"host,omitempty"` // in lower case, "" or "*"
	Path       string `json:"path,omitempty"` // "" or "/a/b"
	DomainGUID string `json:"domain_guid"`
	SpaceGUID  string `json:"space_guid"`
	// SharedSpaces are other spaces whose apps may be mapped. Shared with the
	// state: never change it in place.
	SharedSpaces []string `json:"shared_spaces,omitempty"`
	// LoadBalancing is "" (the router's default), "round-robin" or
	// "least-connection".
	LoadBalancing string `json:"load_balancing,omitempty"`
}

// URL is the route as people write it: host.domain/path.
func (r Route) URL(domain string) string {
	return strings.TrimPrefix(r.Host+"."+domain+r.Path, ".")
}

// UsableIn reports whether apps of a space may be mapped to the route.
func (r Route) UsableIn(space string) bool {
	if r.SpaceGUID == space {
		return true
	}
	for _, s := range r.SharedSpaces {
		if s == space {
			return true
		}
	}
	return false
}

// Protocols of destinations.
const (
	ProtocolHTTP1 = "http1"
	ProtocolHTTP2 = "http2"
)

// Destination says that a route leads to a process of an app.
type Destination struct {
	Resource
	RouteGUID   string `json:"route_guid"`
	AppGUID     string `json:"app_guid"`
	ProcessType string `json:"process_type"`
	Port        int    `json:"port,omitempty"` // 0 is the app's own, 8080
	Protocol    string `json:"protocol"`
}

// Same reports whether both lead to the same place.
func (d Destination) Same(o Destination) bool {
	return d.RouteGUID == o.RouteGUID && d.AppGUID == o.AppGUID && d.ProcessType == o.ProcessType && d.Port == o.Port
}
