package cf

// Role is a role that a user has in an organization or a space.
type Role struct {
	Resource
	Type      string `json:"type"` // "organization_manager", "space_developer", …
	UserGUID  string `json:"user_guid"`
	OrgGUID   string `json:"org_guid,omitempty"`   // of an organization's role
	SpaceGUID string `json:"space_guid,omitempty"` // of a space's role
}
