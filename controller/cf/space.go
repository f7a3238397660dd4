package cf

// Space holds apps, routes and service instances.
type Space struct {
	Resource
	Metadata
	Name      string `json:"name"`
	OrgGUID   string `json:"org_guid"`
	QuotaGUID string `json:"quota_guid,omitempty"` // "" is only the organization's
	SSHOff    bool   `json:"ssh_off,omitempty"`
}
