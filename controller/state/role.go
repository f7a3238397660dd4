package state

import "github.com/stackato/stackato/controller/cf"

var roles = newTable[cf.Role]("cf_roles", byGUID(),
	by("user", "UserGUID"), by("org", "OrgGUID"), by("space", "SpaceGUID"))

// Role returns one role.
func (v *View) Role(guid string) (cf.Role, bool) { return roles.get(v, "id", guid) }

// Roles returns all roles, in no useful order.
func (v *View) Roles() []cf.Role { return roles.list(v, "id") }

// RolesOfUser returns the roles that a user has.
func (v *View) RolesOfUser(guid string) []cf.Role { return roles.list(v, "user", guid) }

// RolesInOrganization returns the roles held in an organization itself, not in
// its spaces.
func (v *View) RolesInOrganization(guid string) []cf.Role { return roles.list(v, "org", guid) }

// RolesInSpace returns the roles held in a space.
func (v *View) RolesInSpace(guid string) []cf.Role { return roles.list(v, "space", guid) }

func hasRole(r reader, user, typ, org, space string) bool {
	for role := range roles.each(r, "user", user) {
		if role.Type == typ && role.OrgGUID == org && role.SpaceGUID == space {
			return true
		}
	}
	return false
}
