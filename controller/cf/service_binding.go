package cf

// Types of service credential bindings.
const (
	BindingApp = "app"
	BindingKey = "key"
)

// ServiceBinding gives a service instance's credentials to an app.
type ServiceBinding struct {
	Resource
	Metadata
	Type                string `json:"type"`
	Name                string `json:"name,omitempty"`
	AppGUID             string `json:"app_guid,omitempty"` // of type BindingApp
	ServiceInstanceGUID string `json:"service_instance_guid"`
}

// BoundService is an entry of VCAP_SERVICES as a process version or a task
// keeps it.
type BoundService struct {
	Label          string   `json:"label"` // "user-provided"
	BindingGUID    string   `json:"binding_guid"`
	BindingName    string   `json:"binding_name,omitempty"`
	InstanceGUID   string   `json:"instance_guid"`
	InstanceName   string   `json:"instance_name"`
	Tags           []string `json:"tags,omitempty"`
	Credentials    Secret   `json:"credentials,omitempty"` // sealed for InstanceGUID
	SyslogDrainURL string   `json:"syslog_drain_url,omitempty"`
}
