package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (a *API) serviceInstanceRoutes() []route {
	return []route{
		{"POST", "/v3/service_instances", auth.ServiceWrite, "Create a user-provided service instance.", createServiceInstance},
		{"GET", "/v3/service_instances", auth.ServiceRead, "List service instances.", listServiceInstances},
		{"GET", "/v3/service_instances/{guid}", auth.ServiceRead, "Show a service instance.", getServiceInstance},
		{"PATCH", "/v3/service_instances/{guid}", auth.ServiceWrite, "Change a service instance.", updateServiceInstance},
		{"DELETE", "/v3/service_instances/{guid}", auth.ServiceWrite, "Delete a service instance and its bindings.", deleteServiceInstance},
		{"GET", "/v3/service_instances/{guid}/credentials", auth.ServiceSecrets, "Show a service instance's credentials.", getServiceCredentials},
		{"GET", "/v3/service_instances/{guid}/parameters", auth.ServiceRead, "Refused: user-provided instances have no parameters.", getServiceParameters},
		{"GET", "/v3/service_instances/{guid}/relationships/shared_spaces", auth.ServiceRead, "List the spaces that share a service instance: none.", listServiceSpaces},
	}
}

type serviceInstanceJSON struct {
	head
	Name            string            `json:"name"`
	Type            string            `json:"type"`
	Tags            []string          `json:"tags"`
	LastOperation   lastOperationJSON `json:"last_operation"`
	SyslogDrainURL  *string           `json:"syslog_drain_url"`
	RouteServiceURL *string           `json:"route_service_url"`
	Relationships   map[string]any    `json:"relationships"`
	Metadata        metadata          `json:"metadata"`
	Links           links             `json:"links"`
}

type lastOperationJSON struct {
	Type        string `json:"type"`
	State       string `json:"state"`
	Description string `json:"description"`
	CreatedAt   string `json:"created_at"`
	UpdatedAt   string `json:"updated_at"`
}

// lastOperationOf says that creation, or a later change, has succeeded.
func lastOperationOf(r cf.Resource) lastOperationJSON {
	out := lastOperationJSON{"create", "succeeded", "Operation succeeded", stamp(r.CreatedAt), stamp(r.UpdatedAt)}
	if r.UpdatedAt.After(r.CreatedAt) {
		out.Type = "update"
	}
	return out
}

func presentServiceInstance(r *request, i cf.ServiceInstance) any {
	self := r.link("/v3/service_instances/", i.GUID)
	out := serviceInstanceJSON{
		head: headOf(i.Resource), Name: i.Name, Type: i.Type, Tags: i.Tags, LastOperation: lastOperationOf(i.Resource),
		SyslogDrainURL: orNull(i.SyslogDrainURL), RouteServiceURL: orNull(i.RouteServiceURL),
		Relationships: map[string]any{"space": toOne(i.SpaceGUID)}, Metadata: metadataOf(i.Metadata),
		Links: links{
			"self":                        {Href: self},
			"space":                       {Href: r.link("/v3/spaces/", i.SpaceGUID)},
			"credentials":                 {Href: self + "/credentials"},
			"service_credential_bindings": {Href: r.link("/v3/service_credential_bindings?service_instance_guids=", i.GUID)},
			"service_route_bindings":      {Href: r.link("/v3/service_route_bindings?service_instance_guids=", i.GUID)},
		},
	}
	if out.Tags == nil {
		out.Tags = []string{}
	}
	return out
}

func listServiceInstances(r *request) (response, error) {
	nothing := func(*cf.ServiceInstance) string { return "" }
	may := r.spacesWith(auth.ServiceRead)
	var spaces []string // of the page
	resp, err := listing[cf.ServiceInstance]{
		resource: func(i *cf.ServiceInstance) cf.Resource { return i.Resource },
		metadata: func(i *cf.ServiceInstance) cf.Metadata { return i.Metadata },
		filters: map[string]func(*cf.ServiceInstance) string{
			"names":              func(i *cf.ServiceInstance) string { return i.Name },
			"type":               func(i *cf.ServiceInstance) string { return i.Type },
			"space_guids":        func(i *cf.ServiceInstance) string { return i.SpaceGUID },
			"organization_guids": func(i *cf.ServiceInstance) string { return r.orgOfSpace(i.SpaceGUID) },
			"service_plan_guids": nothing, "service_plan_names": nothing,
			"service_offering_guids": nothing, "service_offering_names": nothing,
		},
		params: []string{"fields"},
		orders: map[string]func(a, b *cf.ServiceInstance) int{
			"name": func(a, b *cf.ServiceInstance) int { return strings.Compare(a.Name, b.Name) },
		},
		present: func(r *request, i cf.ServiceInstance) any {
			spaces = append(spaces, i.SpaceGUID)
			return presentServiceInstance(r, i)
		},
	}.serve(r, func(yield func(cf.ServiceInstance) bool) {
		for _, i := range r.view.ServiceInstances() {
			if may(i.SpaceGUID) && !yield(i) {
				return
			}
		}
	})
	if out, isPage := resp.body.(page); isPage && r.query.Has("fields[space]") {
		out.Included = r.includedSpacesOf(true, r.query.Has("fields[space.organization]"), spaces)
		resp.body = out
	}
	return resp, err
}

// serviceInstance is the path's service instance, if the user may do action.
func (r *request) serviceInstance(action auth.Action) (cf.ServiceInstance, error) {
	i, found := r.view.ServiceInstance(r.guid())
	if !found {
		return i, cf.ErrNotFound.With("Service instance not found")
	}
	return i, r.inSpace(i.SpaceGUID, auth.ServiceRead, action, "Service instance")
}

func getServiceInstance(r *request) (response, error) {
	i, err := r.serviceInstance(auth.ServiceRead)
	if err != nil {
		return response{}, err
	}
	return ok(presentServiceInstance(r, i))
}

// serviceBody is a service instance in a body.
type serviceBody struct {
	Type            string           `json:"type"`
	Name            *string          `json:"name"`
	Tags            *[]string        `json:"tags"`
	Credentials     *json.RawMessage `json:"credentials"`
	SyslogDrainURL  optional[string] `json:"syslog_drain_url"`
	RouteServiceURL optional[string] `json:"route_service_url"`
	Parameters      *json.RawMessage `json:"parameters"`
	MaintenanceInfo *json.RawMessage `json:"maintenance_info"`
	Relationships   struct {
		Space *relation `json:"space"`
		Plan  *relation `json:"service_plan"`
	} `json:"relationships"`
	Metadata *metadataBody `json:"metadata"`
}

// maxCredentials bounds the credentials of a service instance, in bytes:
// every process version of a bound app keeps a copy.
const maxCredentials = 64 << 10

func (b serviceBody) problems(whole bool) problems {
	var p problems
	if whole || b.Name != nil {
		p = append(p, nameProblems(deref(b.Name, ""))...)
	}
	total := 0
	for _, t := range deref(b.Tags, nil) {
		total += len(t)
	}
	p.check(total <= 2048, "Tags combined length of tags must be 2048 characters or less")
	if b.Credentials != nil && string(*b.Credentials) != "null" {
		var object map[string]json.RawMessage
		p.check(json.Unmarshal(*b.Credentials, &object) == nil, "Credentials must be an object")
		p.check(len(*b.Credentials) <= maxCredentials, "Credentials are larger than 65536 bytes")
	}
	drain, err := url.Parse(b.SyslogDrainURL.value)
	p.check(b.SyslogDrainURL.value == "" || err == nil && drain.Host != "", "Syslog drain url must be a valid URI")
	service, err := url.Parse(b.RouteServiceURL.value)
	p.check(b.RouteServiceURL.value == "" || err == nil && service.Scheme == "https" && service.Host != "", "Route service url must be https")
	return p
}

// errManaged is for what needs a service broker.
var errManaged = cf.ErrUnprocessable.With("Managed services are not supported yet: there are no service brokers. Use a user-provided service instance (cf create-user-provided-service).")

func createServiceInstance(r *request) (response, error) {
	var body serviceBody
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	switch body.Type {
	case cf.ServiceUserProvided:
	case "managed":
		return response{}, errManaged
	default:
		return response{}, cf.ErrUnprocessable.With("Type must be one of 'managed', 'user-provided'")
	}
	if err := body.problems(true).err(); err != nil {
		return response{}, err
	}
	if err := r.requireFlag("service_instance_creation"); err != nil {
		return response{}, err
	}
	space := body.Relationships.Space.guid()
	if err := r.inSpace(space, auth.SpaceRead, auth.ServiceWrite, "Space"); err != nil {
		if cf.ErrNotFound.Is(err) {
			err = cf.ErrUnprocessable.With("Invalid space. Ensure that the space exists and you have access to it.")
		}
		return response{}, err
	}
	meta, err := body.Metadata.fresh()
	if err != nil {
		return response{}, err
	}
	i := cf.ServiceInstance{
		Resource: r.resource(), Metadata: meta, Name: *body.Name, SpaceGUID: space, Type: cf.ServiceUserProvided,
		Tags: deref(body.Tags, nil), SyslogDrainURL: body.SyslogDrainURL.value, RouteServiceURL: body.RouteServiceURL.value,
	}
	if i.Credentials, err = r.sealCredentials(i.GUID, body.Credentials); err != nil {
		return response{}, err
	}
	ctx := state.WithEvent(r.Context(), r.event("audit.user_provided_service_instance.create", serviceParty(i), space, nil))
	if err := r.store().CreateServiceInstance(ctx, i); err != nil {
		return response{}, err
	}
	return created(presentServiceInstance(r, i))
}

func serviceParty(i cf.ServiceInstance) cf.EventParty {
	return cf.EventParty{GUID: i.GUID, Type: "user_provided_service_instance", Name: i.Name}
}

func (r *request) sealCredentials(instanceGUID string, raw *json.RawMessage) (cf.Secret, error) {
	if raw == nil || string(*raw) == "null" {
		return nil, nil
	}
	return state.SealCredentials(r.api.Sealer, instanceGUID, *raw)
}

func updateServiceInstance(r *request) (response, error) {
	i, err := r.serviceInstance(auth.ServiceWrite)
	if err != nil {
		return response{}, err
	}
	var body serviceBody
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	if err := body.problems(false).err(); err != nil {
		return response{}, err
	}
	if body.Parameters != nil || body.Relationships.Plan != nil {
		return response{}, cf.ErrUnprocessable.With("A user-provided service instance has neither plan nor parameters.")
	}
	u := state.ServiceInstanceUpdate{GUID: i.GUID, Name: body.Name, Tags: body.Tags, At: r.now}
	if body.Credentials != nil {
		sealed, err := r.sealCredentials(i.GUID, body.Credentials)
		if err != nil {
			return response{}, err
		}
		u.Credentials = &sealed
	}
	if body.SyslogDrainURL.set {
		u.SyslogDrainURL = &body.SyslogDrainURL.value
	}
	if body.RouteServiceURL.set {
		u.RouteServiceURL = &body.RouteServiceURL.value
	}
	if u.Metadata, err = body.Metadata.patch(); err != nil {
		return response{}, err
	}
	ctx := state.WithEvent(r.Context(), r.event("audit.user_provided_service_instance.update", serviceParty(i), i.SpaceGUID, nil))
	if i, err = r.store().UpdateServiceInstance(ctx, u); err != nil {
		return response{}, err
	}
	return ok(presentServiceInstance(r, i))
}

func deleteServiceInstance(r *request) (response, error) {
	i, err := r.serviceInstance(auth.ServiceWrite)
	if err != nil {
		return response{}, err
	}
	ctx := state.WithEvent(r.Context(), r.event("audit.user_provided_service_instance.delete", serviceParty(i), i.SpaceGUID, nil))
	if err := r.store().DeleteServiceInstance(ctx, state.Target{GUID: i.GUID, At: r.now}); err != nil {
		return response{}, err
	}
	return response{status: http.StatusNoContent}, nil
}

func getServiceCredentials(r *request) (response, error) {
	i, err := r.serviceInstance(auth.ServiceSecrets)
	if err != nil {
		return response{}, err
	}
	credentials, err := state.OpenCredentials(r.api.Sealer, i.GUID, i.Credentials)
	if err != nil {
		return response{}, err
	}
	return ok(json.RawMessage(credentials))
}

func getServiceParameters(r *request) (response, error) {
	if _, err := r.serviceInstance(auth.ServiceRead); err != nil {
		return response{}, err
	}
	return response{}, cf.ErrBadRequest.With("This service does not support fetching service instance parameters.")
}

func listServiceSpaces(r *request) (response, error) {
	if _, err := r.serviceInstance(auth.ServiceRead); err != nil {
		return response{}, err
	}
	return ok(related{[]relationData{}, links{"self": {Href: r.link("/v3/service_instances/", r.guid(), "/relationships/shared_spaces")}}})
}
