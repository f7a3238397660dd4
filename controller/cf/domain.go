package cf

// Domain is what routes stand below.
type Domain struct {
	Resource
	Metadata
	Name     string `json:"name"` // in lower case
	Internal bool   `json:"internal,omitempty"`
	// OrgGUID is the owner of a private domain; "" is a shared domain.
	OrgGUID string `json:"org_guid,omitempty"`
	// SharedOrgs are other organizations that may use a private domain.
	// Shared with the state: never change it in place.
	SharedOrgs []string `json:"shared_orgs,omitempty"`
}

// UsableBy reports whether spaces of an organization may have routes in the
// domain.
func (d Domain) UsableBy(org string) bool {
	if d.OrgGUID == "" || d.OrgGUID == org {
		return true
	}
	for _, o := range d.SharedOrgs {
		if o == org {
			return true
		}
	}
	return false
}
