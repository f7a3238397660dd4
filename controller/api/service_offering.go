package api

import (
	"github.com/stackato/stackato/controller/auth"
)

// serviceOfferingRoutes are the calls of managed services: empty until there
// are brokers.
func (a *API) serviceOfferingRoutes() []route {
	refuse := func(*request) (response, error) { return response{}, errManaged }
	return []route{
		{"GET", "/v3/service_offerings", auth.SignedIn, "List service offerings: none.", emptyList},
		{"GET", "/v3/service_plans", auth.SignedIn, "List service plans: none.", emptyList},
		{"GET", "/v3/service_brokers", auth.SignedIn, "List service brokers: none.", emptyList},
		{"POST", "/v3/service_brokers", auth.GlobalWrite, "Refused: there are no service brokers yet.", refuse},
		{"GET", "/v3/service_route_bindings", auth.SignedIn, "List route services: none.", emptyList},
		{"POST", "/v3/service_route_bindings", auth.ServiceBind, "Refused: there are no route services yet.", refuse},
	}
}
