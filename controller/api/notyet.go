package api

import (
	"net/http"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
)

// notYet names what Cloud Foundry has and this API does not have so far. A
// list is empty, so that what cf shows beside other things works; everything
// else says what is missing.
var notYet = []struct{ path, what string }{
	{"/v3/isolation_segments", "Isolation segments"},
	{"/v3/security_groups", "Security groups"},
	{"/v3/app_usage_events", "Usage events"},
	{"/v3/service_usage_events", "Usage events"},
}

func (a *API) notYetRoutes() []route {
	var out []route
	for _, n := range notYet {
		refuse := func(*request) (response, error) {
			return response{}, cf.ErrNotImplemented.With("%s are not there yet.", n.what)
		}
		out = append(
			out,
			route{"GET", n.path, auth.SignedIn, "An empty list: " + n.what + " are not there yet.", emptyList},
			route{"POST", n.path, auth.SignedIn, "Refused: " + n.what + " are not there yet.", refuse},
			route{"", n.path + "/{rest...}", auth.SignedIn, "Refused: " + n.what + " are not there yet.", refuse},
		)
	}
	// This API of Cloud Foundry's has errors of its own shape.
	networking := func(*request) (response, error) {
		return response{status: http.StatusBadRequest, body: map[string]string{
			"error": "Network policies are not there yet: apps reach each other through their routes.",
		}}, nil
	}
	groups := func(*request) (response, error) { return response{body: []any{}}, nil }
	return append(
		out,
		route{"GET", "/routing/v1/router_groups", auth.SignedIn, "An empty list: TCP routes are not there yet.", groups},
		route{"GET", "/networking/v1/external/policies", auth.SignedIn, "An empty list: network policies are not there yet.", func(*request) (response, error) {
			return ok(map[string]any{"total_policies": 0, "policies": []any{}})
		}},
		route{"POST", "/networking/v1/external/policies", auth.SignedIn, "Refused: network policies are not there yet.", networking},
		route{"POST", "/networking/v1/external/policies/delete", auth.SignedIn, "Refused: network policies are not there yet.", networking},
	)
}
