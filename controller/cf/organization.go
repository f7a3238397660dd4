package cf

// Organization holds spaces.
type Organization struct {
	Resource
	Metadata
	Name      string `json:"name"`
	Suspended bool   `json:"suspended,omitempty"`
	QuotaGUID string `json:"quota_guid,omitempty"` // "" is the default quota
}
