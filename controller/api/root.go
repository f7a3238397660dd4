package api

import "github.com/stackato/stackato/internal/buildinfo"

// apiVersion is the version of Cloud Foundry's v3 API that clients may expect:
// from 3.211 on, cf asks for processes with embed=process_instances.
const apiVersion = "3.211.0"

func (a *API) rootRoutes() []route {
	return []route{
		{"GET", "/{$}", "", "Show where the services are.", getRoot},
		{"GET", "/v3", "", "Show the links of the API.", getV3},
		{"GET", "/v3/info", "", "Show name and version of the platform.", getInfo},
	}
}

// rootLink is a link of GET /; Meta is only there for some.
type rootLink struct {
	Href string            `json:"href"`
	Meta map[string]string `json:"meta,omitempty"`
}

func getRoot(r *request) (response, error) {
	l := r.api.Links
	out := map[string]*rootLink{
		"self":                {Href: r.link()},
		"cloud_controller_v2": nil,
		"cloud_controller_v3": {Href: r.link("/v3"), Meta: map[string]string{"version": apiVersion}},
		"network_policy_v0":   nil,
		"network_policy_v1":   {Href: r.link("/networking/v1/external")},
		"routing":             {Href: r.link("/routing")},
		"login":               {Href: l.Login},
		"uaa":                 {Href: l.UAA},
		"credhub":             nil,
		"logging":             nil,
		"log_cache":           {Href: l.LogCache},
		"log_stream":          nil,
		"app_ssh":             nil,
	}
	if l.AppSSH != "" {
		out["app_ssh"] = &rootLink{Href: l.AppSSH, Meta: map[string]string{"host_key_fingerprint": l.SSHFingerprint, "oauth_client": "ssh-proxy"}}
	}
	return ok(map[string]any{"links": out})
}

func getV3(r *request) (response, error) {
	out := links{"self": {Href: r.link("/v3")}}
	for _, name := range v3Collections {
		out[name] = link{Href: r.link("/v3/", name)}
	}
	return ok(map[string]any{"links": out})
}

var v3Collections = []string{
	"app_usage_events", "apps", "audit_events", "buildpacks", "builds", "deployments", "domains", "droplets",
	"environment_variable_groups", "feature_flags", "info", "isolation_segments", "organization_quotas", "organizations",
	"packages", "processes", "resource_matches", "roles", "routes", "security_groups", "service_brokers",
	"service_credential_bindings", "service_instances", "service_offerings", "service_plans", "service_route_bindings",
	"space_quotas", "spaces", "stacks", "tasks", "users",
}

func getInfo(r *request) (response, error) {
	return ok(map[string]any{
		"name": "Stackato", "build": buildinfo.Version, "version": 1, "description": "Stackato, a private platform as a service",
		"osbapi_version": "2.15", "cli_version": map[string]any{"minimum": nil, "recommended": nil}, "custom": map[string]any{},
		"links": links{"self": {Href: r.link("/v3/info")}, "support": {Href: r.api.Links.Login}},
	})
}
