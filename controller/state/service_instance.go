package state

import (
	"context"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

var serviceInstances = newTable[cf.ServiceInstance]("cf_service_instances", byGUID(),
	uniqueName("SpaceGUID", "Name"), by("space", "SpaceGUID"))

// ServiceInstance returns one service instance.
func (v *View) ServiceInstance(guid string) (cf.ServiceInstance, bool) {
	return serviceInstances.get(v, "id", guid)
}

// ServiceInstanceByName finds a service instance in its space.
func (v *View) ServiceInstanceByName(spaceGUID, name string) (cf.ServiceInstance, bool) {
	return serviceInstances.get(v, "name", spaceGUID, name)
}

// ServiceInstances returns all service instances, in no useful order.
func (v *View) ServiceInstances() []cf.ServiceInstance { return serviceInstances.list(v, "id") }

// ServiceInstancesOfSpace returns the service instances of a space.
func (v *View) ServiceInstancesOfSpace(spaceGUID string) []cf.ServiceInstance {
	return serviceInstances.list(v, "space", spaceGUID)
}

var createServiceInstance = newAudited("cf.service_instance.create", 1, func(tx *Tx, in cf.ServiceInstance) (none, error) {
	if serviceInstances.has(tx, "name", in.SpaceGUID, in.Name) {
		return none{}, cf.ErrUnprocessable.With("The service instance name is taken: %s", in.Name)
	}
	if !spaces.has(tx, "id", in.SpaceGUID) {
		return none{}, cf.ErrUnprocessable.With("Invalid space. Ensure that the space exists and you have access to it.")
	}
	if err := checkServiceQuota(tx, in.SpaceGUID); err != nil {
		return none{}, err
	}
	serviceInstances.put(tx, in)
	return none{}, nil
})

// CreateServiceInstance adds a service instance.
func (s *Store) CreateServiceInstance(ctx context.Context, i cf.ServiceInstance) error {
	_, err := createServiceInstance.do(ctx, s, i)
	return err
}

// ServiceInstanceUpdate changes what is not nil.
type ServiceInstanceUpdate struct {
	GUID            string           `json:"guid"`
	Name            *string          `json:"name,omitempty"`
	Tags            *[]string        `json:"tags,omitempty"`
	Credentials     *cf.Secret       `json:"credentials,omitempty"`
	SyslogDrainURL  *string          `json:"syslog_drain_url,omitempty"`
	RouteServiceURL *string          `json:"route_service_url,omitempty"`
	Metadata        cf.MetadataPatch `json:"metadata,omitzero"`
	At              time.Time        `json:"at"`
}

var updateServiceInstance = newAudited("cf.service_instance.update", 1, func(tx *Tx, in ServiceInstanceUpdate) (cf.ServiceInstance, error) {
	i, ok := serviceInstances.get(tx, "id", in.GUID)
	if !ok {
		return i, cf.ErrNotFound.With("Service instance not found")
	}
	if in.Name != nil {
		if other, taken := serviceInstances.get(tx, "name", i.SpaceGUID, *in.Name); taken && other.GUID != i.GUID {
			return i, cf.ErrUnprocessable.With("The service instance name is taken: %s", *in.Name)
		}
		i.Name = *in.Name
	}
	set(&i.Tags, in.Tags)
	set(&i.Credentials, in.Credentials)
	set(&i.SyslogDrainURL, in.SyslogDrainURL)
	set(&i.RouteServiceURL, in.RouteServiceURL)
	i.Metadata = i.Patched(in.Metadata)
	i.UpdatedAt = in.At
	serviceInstances.put(tx, i)
	return i, nil
})

// UpdateServiceInstance changes a service instance and returns it. Apps see
// the change from their next start on.
func (s *Store) UpdateServiceInstance(ctx context.Context, u ServiceInstanceUpdate) (cf.ServiceInstance, error) {
	return updateServiceInstance.do(ctx, s, u)
}

var deleteServiceInstance = newAudited("cf.service_instance.delete", 1, func(tx *Tx, in Target) (none, error) {
	if serviceInstances.remove(tx, "id", in.GUID) == 0 {
		return none{}, cf.ErrNotFound.With("Service instance not found")
	}
	serviceBindings.remove(tx, "instance", in.GUID)
	return none{}, nil
})

// DeleteServiceInstance removes a service instance and its bindings.
func (s *Store) DeleteServiceInstance(ctx context.Context, t Target) error {
	_, err := deleteServiceInstance.do(ctx, s, t)
	return err
}

// removeSpaceContents removes the apps and service instances of a space.
func removeSpaceContents(tx *Tx, spaceGUID string) {
	for _, a := range apps.list(tx, "space", spaceGUID) {
		removeApp(tx, a.GUID)
	}
	for _, i := range serviceInstances.list(tx, "space", spaceGUID) {
		serviceBindings.remove(tx, "instance", i.GUID)
		serviceInstances.remove(tx, "id", i.GUID)
	}
}
