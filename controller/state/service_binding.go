package state

import (
	"context"
	"slices"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

var serviceBindings = newTable[cf.ServiceBinding]("cf_service_bindings", byGUID(),
	by("app", "AppGUID"), by("instance", "ServiceInstanceGUID"))

// ServiceBinding returns one binding.
func (v *View) ServiceBinding(guid string) (cf.ServiceBinding, bool) {
	return serviceBindings.get(v, "id", guid)
}

// ServiceBindings returns all bindings, in no useful order.
func (v *View) ServiceBindings() []cf.ServiceBinding { return serviceBindings.list(v, "id") }

// ServiceBindingsOfApp returns the bindings of an app, the oldest first.
func (v *View) ServiceBindingsOfApp(appGUID string) []cf.ServiceBinding {
	return serviceBindingsOfApp(v, appGUID)
}

// ServiceBindingsOfInstance returns the bindings to a service instance.
func (v *View) ServiceBindingsOfInstance(instanceGUID string) []cf.ServiceBinding {
	return serviceBindings.list(v, "instance", instanceGUID)
}

func serviceBindingsOfApp(r reader, appGUID string) []cf.ServiceBinding {
	out := serviceBindings.list(r, "app", appGUID)
	slices.SortFunc(out, func(a, b cf.ServiceBinding) int { return older(a.Resource, b.Resource) })
	return out
}

// BoundServices is what the app would find in VCAP_SERVICES if it were
// started now.
func (v *View) BoundServices(appGUID string) []cf.BoundService { return boundServices(v, appGUID) }

func boundServices(r reader, appGUID string) []cf.BoundService {
	var out []cf.BoundService
	for _, b := range serviceBindingsOfApp(r, appGUID) {
		i, ok := serviceInstances.get(r, "id", b.ServiceInstanceGUID)
		if !ok {
			continue
		}
		out = append(out, cf.BoundService{
			Label: i.Type, BindingGUID: b.GUID, BindingName: b.Name,
			InstanceGUID: i.GUID, InstanceName: i.Name, Tags: i.Tags,
			Credentials: i.Credentials, SyslogDrainURL: i.SyslogDrainURL,
		})
	}
	return out
}

var createServiceBinding = newAudited("cf.service_binding.create", 1, func(tx *Tx, in cf.ServiceBinding) (none, error) {
	i, ok := serviceInstances.get(tx, "id", in.ServiceInstanceGUID)
	if !ok {
		return none{}, cf.ErrUnprocessable.With("The service instance could not be found: '%s'", in.ServiceInstanceGUID)
	}
	a, ok := apps.get(tx, "id", in.AppGUID)
	if !ok {
		return none{}, cf.ErrUnprocessable.With("The app could not be found: '%s'", in.AppGUID)
	}
	if a.SpaceGUID != i.SpaceGUID {
		return none{}, cf.ErrUnprocessable.With("The service instance and the app are in different spaces.")
	}
	for _, b := range serviceBindingsOfApp(tx, in.AppGUID) {
		if b.ServiceInstanceGUID == in.ServiceInstanceGUID {
			return none{}, cf.ErrUnprocessable.With("The app is already bound to the service instance")
		}
		if in.Name != "" && b.Name == in.Name {
			return none{}, cf.ErrUnprocessable.With(
				"The binding name is invalid. App binding names must be unique. The app already has a binding with name '%s'.", in.Name)
		}
	}
	serviceBindings.put(tx, in)
	return none{}, nil
})

// CreateServiceBinding binds an app to a service instance of its space. The
// app sees it from its next start on.
func (s *Store) CreateServiceBinding(ctx context.Context, b cf.ServiceBinding) error {
	_, err := createServiceBinding.do(ctx, s, b)
	return err
}

// CreateServiceBinding is like Store.CreateServiceBinding.
func (b *Batch) CreateServiceBinding(sb cf.ServiceBinding) { createServiceBinding.queue(b, sb) }

// ServiceBindingUpdate changes a binding's metadata.
type ServiceBindingUpdate struct {
	GUID     string           `json:"guid"`
	Metadata cf.MetadataPatch `json:"metadata,omitzero"`
	At       time.Time        `json:"at"`
}

var updateServiceBinding = newAudited("cf.service_binding.update", 1, func(tx *Tx, in ServiceBindingUpdate) (cf.ServiceBinding, error) {
	b, ok := serviceBindings.get(tx, "id", in.GUID)
	if !ok {
		return b, cf.ErrNotFound.With("Service credential binding not found")
	}
	b.Metadata = b.Patched(in.Metadata)
	b.UpdatedAt = in.At
	serviceBindings.put(tx, b)
	return b, nil
})

// UpdateServiceBinding changes a binding's metadata and returns it.
func (s *Store) UpdateServiceBinding(ctx context.Context, u ServiceBindingUpdate) (cf.ServiceBinding, error) {
	return updateServiceBinding.do(ctx, s, u)
}

var deleteServiceBinding = newAudited("cf.service_binding.delete", 1, func(tx *Tx, in Target) (none, error) {
	if serviceBindings.remove(tx, "id", in.GUID) == 0 {
		return none{}, cf.ErrNotFound.With("Service credential binding not found")
	}
	return none{}, nil
})

// DeleteServiceBinding removes a binding.
func (s *Store) DeleteServiceBinding(ctx context.Context, t Target) error {
	_, err := deleteServiceBinding.do(ctx, s, t)
	return err
}
