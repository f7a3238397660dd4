package cf

// Limits bound what an organization or a space may use; nil is unlimited.
type Limits struct {
	MemoryMB         *int `json:"memory_mb,omitempty"`          // of all running instances and tasks
	InstanceMemoryMB *int `json:"instance_memory_mb,omitempty"` // of one instance or task
	Instances        *int `json:"instances,omitempty"`          // of running processes
	AppTasks         *int `json:"app_tasks,omitempty"`          // running at once, of one app
	LogRateBytes     *int `json:"log_rate_bytes,omitempty"`     // a second
	PaidServices     bool `json:"paid_services"`
	ServiceInstances *int `json:"service_instances,omitempty"`
	ServiceKeys      *int `json:"service_keys,omitempty"`
	Routes           *int `json:"routes,omitempty"`
	ReservedPorts    *int `json:"reserved_ports,omitempty"`
	Domains          *int `json:"domains,omitempty"` // private ones, of an organization
}

// Quota is a named set of limits: an organization's, or a space's.
type Quota struct {
	Resource
	Name string `json:"name"`
	// OrgGUID owns a space quota; "" is an organization quota.
	OrgGUID string `json:"org_guid,omitempty"`
	Limits
}

// DefaultQuota is the name of the quota of organizations that name none.
const DefaultQuota = "default"
