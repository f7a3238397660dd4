package api

import (
	"encoding/json"
	"iter"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (a *API) serviceBindingRoutes() []route {
	return []route{
		{"POST", "/v3/service_credential_bindings", auth.ServiceBind, "Bind an app to a service instance.", createServiceBinding},
		{"GET", "/v3/service_credential_bindings", auth.ServiceRead, "List bindings.", listServiceBindings},
		{"GET", "/v3/service_credential_bindings/{guid}", auth.ServiceRead, "Show a binding.", getServiceBinding},
		{"PATCH", "/v3/service_credential_bindings/{guid}", auth.ServiceBind, "Change a binding's metadata.", updateServiceBinding},
		{"DELETE", "/v3/service_credential_bindings/{guid}", auth.ServiceBind, "Unbind.", deleteServiceBinding},
		{"GET", "/v3/service_credential_bindings/{guid}/details", auth.ServiceSecrets, "Show a binding's credentials.", getServiceBindingDetails},
		{"GET", "/v3/service_credential_bindings/{guid}/parameters", auth.ServiceRead, "Refused: bindings of user-provided instances have no parameters.", getServiceBindingParameters},
	}
}

type bindingJSON struct {
	head
	Name          *string             `json:"name"`
	Type          string              `json:"type"`
	LastOperation lastOperationJSON   `json:"last_operation"`
	Relationships map[string]relation `json:"relationships"`
	Metadata      metadata            `json:"metadata"`
	Links         links               `json:"links"`
}

func presentBinding(r *request, b cf.ServiceBinding) any {
	self := r.link("/v3/service_credential_bindings/", b.GUID)
	return bindingJSON{
		head: headOf(b.Resource), Name: orNull(b.Name), Type: b.Type, LastOperation: lastOperationOf(b.Resource), Metadata: metadataOf(b.Metadata),
		Relationships: map[string]relation{"app": toOne(b.AppGUID), "service_instance": toOne(b.ServiceInstanceGUID)},
		Links: links{
			"self": {Href: self}, "details": {Href: self + "/details"},
			"app":              {Href: r.link("/v3/apps/", b.AppGUID)},
			"service_instance": {Href: r.link("/v3/service_instances/", b.ServiceInstanceGUID)},
		},
	}
}

// spaceOfBinding is the space of the service instance.
func (r *request) spaceOfBinding(b *cf.ServiceBinding) string {
	i, _ := r.view.ServiceInstance(b.ServiceInstanceGUID)
	return i.SpaceGUID
}

func listServiceBindings(r *request) (response, error) {
	nothing := func(*cf.ServiceBinding) string { return "" }
	return listing[cf.ServiceBinding]{
		resource: func(b *cf.ServiceBinding) cf.Resource { return b.Resource },
		metadata: func(b *cf.ServiceBinding) cf.Metadata { return b.Metadata },
		filters: map[string]func(*cf.ServiceBinding) string{
			"type":                   func(b *cf.ServiceBinding) string { return b.Type },
			"names":                  func(b *cf.ServiceBinding) string { return b.Name },
			"app_guids":              func(b *cf.ServiceBinding) string { return b.AppGUID },
			"app_names":              func(b *cf.ServiceBinding) string { a, _ := r.view.App(b.AppGUID); return a.Name },
			"service_instance_guids": func(b *cf.ServiceBinding) string { return b.ServiceInstanceGUID },
			"service_instance_names": func(b *cf.ServiceBinding) string {
				i, _ := r.view.ServiceInstance(b.ServiceInstanceGUID)
				return i.Name
			},
			"service_plan_guids": nothing, "service_plan_names": nothing,
			"service_offering_guids": nothing, "service_offering_names": nothing,
		},
		includes: []string{"app", "service_instance"},
		included: includedOfBindings,
		present:  presentBinding,
	}.serve(r, r.readableBindings())
}

func (r *request) readableBindings() iter.Seq[cf.ServiceBinding] {
	rows := r.view.ServiceBindings()
	if r.query.Has("app_guids") {
		rows = ofApps(r, r.view.ServiceBindingsOfApp, nil)
	}
	may := r.spacesWith(auth.ServiceRead)
	return func(yield func(cf.ServiceBinding) bool) {
		for _, b := range rows {
			if may(r.spaceOfBinding(&b)) && !yield(b) {
				return
			}
		}
	}
}

func includedOfBindings(r *request, what map[string]bool, rows []cf.ServiceBinding) map[string]any {
	apps, instances := []any{}, []any{}
	seen := map[string]bool{}
	for _, b := range rows {
		if a, found := r.view.App(b.AppGUID); found && !seen[a.GUID] {
			seen[a.GUID] = true
			apps = append(apps, presentApp(r, a))
		}
		if i, found := r.view.ServiceInstance(b.ServiceInstanceGUID); found && !seen[i.GUID] {
			seen[i.GUID] = true
			instances = append(instances, presentServiceInstance(r, i))
		}
	}
	out := map[string]any{}
	if what["app"] {
		out["apps"] = apps
	}
	if what["service_instance"] {
		out["service_instances"] = instances
	}
	return out
}

// binding is the path's binding, if the user may do action.
func (r *request) binding(action auth.Action) (cf.ServiceBinding, error) {
	b, found := r.view.ServiceBinding(r.guid())
	if !found {
		return b, cf.ErrNotFound.With("Service credential binding not found")
	}
	return b, r.inSpace(r.spaceOfBinding(&b), auth.ServiceRead, action, "Service credential binding")
}

func getServiceBinding(r *request) (response, error) {
	b, err := r.binding(auth.ServiceRead)
	if err != nil {
		return response{}, err
	}
	return ok(presentBinding(r, b))
}

// bindingBody is the body of a new binding.
type bindingBody struct {
	Type          string           `json:"type"`
	Name          *string          `json:"name"`
	Parameters    *json.RawMessage `json:"parameters"`
	Strategy      string           `json:"strategy"`
	Relationships struct {
		App             *relation `json:"app"`
		ServiceInstance *relation `json:"service_instance"`
	} `json:"relationships"`
	Metadata *metadataBody `json:"metadata"`
}

func (b bindingBody) problems() problems {
	var p problems
	p.check(b.Type == cf.BindingApp || b.Type == cf.BindingKey, "Type must be one of 'app', 'key'")
	p.check(b.Name == nil || labelName.MatchString(*b.Name) && len(*b.Name) <= 255, "Name must be at most 255 letters, digits, '-', '_' or '.'")
	p.check(b.Strategy == "" || b.Strategy == "single", "Strategy must be 'single'")
	p.check(b.Relationships.ServiceInstance.guid() != "", "Relationships must include a service_instance")
	return p
}

func createServiceBinding(r *request) (response, error) {
	var body bindingBody
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	if err := body.problems().err(); err != nil {
		return response{}, err
	}
	instanceGUID, appGUID := body.Relationships.ServiceInstance.guid(), body.Relationships.App.guid()
	i, found := r.view.ServiceInstance(instanceGUID)
	missing := cf.ErrUnprocessable.With("The service instance could not be found: '%s'", instanceGUID)
	if !found {
		return response{}, missing
	}
	if err := r.inSpace(i.SpaceGUID, auth.ServiceRead, auth.ServiceBind, ""); err != nil {
		if cf.ErrNotFound.Is(err) {
			err = missing
		}
		return response{}, err
	}
	if body.Type == cf.BindingKey {
		return response{}, cf.ErrUnprocessable.With("Service credential bindings of type 'key' are not supported for user-provided service instances.")
	}
	if body.Parameters != nil && string(*body.Parameters) != "null" && string(*body.Parameters) != "{}" {
		return response{}, cf.ErrUnprocessable.With("Binding parameters are not supported for user-provided service instances")
	}
	a, err := r.appNamed(appGUID, auth.ServiceBind, "App")
	if err != nil {
		return response{}, cf.ErrUnprocessable.With("The app could not be found: '%s'", appGUID)
	}
	meta, err := body.Metadata.fresh()
	if err != nil {
		return response{}, err
	}
	b := cf.ServiceBinding{
		Resource: r.resource(), Metadata: meta, Type: cf.BindingApp, Name: deref(body.Name, ""),
		AppGUID: a.GUID, ServiceInstanceGUID: i.GUID,
	}
	e := r.event("audit.service_binding.create", bindingParty(b), i.SpaceGUID, map[string]any{"app_guid": a.GUID, "service_instance_guid": i.GUID})
	if err := r.store().CreateServiceBinding(state.WithEvent(r.Context(), e), b); err != nil {
		return response{}, err
	}
	return created(presentBinding(r, b))
}

func bindingParty(b cf.ServiceBinding) cf.EventParty {
	return cf.EventParty{GUID: b.GUID, Type: "service_binding", Name: b.Name}
}

func updateServiceBinding(r *request) (response, error) {
	b, err := r.binding(auth.ServiceBind)
	if err != nil {
		return response{}, err
	}
	meta, err := r.metadataOnly()
	if err != nil {
		return response{}, err
	}
	if b, err = r.store().UpdateServiceBinding(r.Context(), state.ServiceBindingUpdate{GUID: b.GUID, Metadata: meta, At: r.now}); err != nil {
		return response{}, err
	}
	return ok(presentBinding(r, b))
}

func deleteServiceBinding(r *request) (response, error) {
	b, err := r.binding(auth.ServiceBind)
	if err != nil {
		return response{}, err
	}
	e := r.event("audit.service_binding.delete", bindingParty(b), r.spaceOfBinding(&b), map[string]any{"app_guid": b.AppGUID})
	if err := r.store().DeleteServiceBinding(state.WithEvent(r.Context(), e), state.Target{GUID: b.GUID, At: r.now}); err != nil {
		return response{}, err
	}
	return noContent()
}

func getServiceBindingDetails(r *request) (response, error) {
	b, err := r.binding(auth.ServiceSecrets)
	if err != nil {
		return response{}, err
	}
	i, _ := r.view.ServiceInstance(b.ServiceInstanceGUID)
	credentials, err := state.OpenCredentials(r.api.Sealer, i.GUID, i.Credentials)
	if err != nil {
		return response{}, err
	}
	out := map[string]any{"credentials": json.RawMessage(credentials)}
	if i.SyslogDrainURL != "" {
		out["syslog_drain_url"] = i.SyslogDrainURL
	}
	return ok(out)
}

func getServiceBindingParameters(r *request) (response, error) {
	if _, err := r.binding(auth.ServiceRead); err != nil {
		return response{}, err
	}
	return response{}, cf.ErrBadRequest.With("This service does not support fetching service binding parameters.")
}
