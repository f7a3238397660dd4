package cf

// ServiceUserProvided is the type of service instances whose credentials come
// from the user.
const ServiceUserProvided = "user-provided"

// ServiceInstance is a service that apps can be bound to.
type ServiceInstance struct {
	Resource
	Metadata
	Name      string   `json:"name"`
	SpaceGUID string   `json:"space_guid"`
	Type      string   `json:"type"`
	Tags      []string `json:"tags,omitempty"`
	// Credentials is a JSON object, sealed for the instance's GUID.
	Credentials     Secret `json:"credentials,omitempty"`
	SyslogDrainURL  string `json:"syslog_drain_url,omitempty"`
	RouteServiceURL string `json:"route_service_url,omitempty"`
}
