package state

import (
	"context"

	"github.com/stackato/stackato/controller/cf"
)

var roles = newTable[cf.Role]("cf_roles", byGUID(),
	by("user", "UserGUID"), by("org", "OrgGUID"), by("space", "SpaceGUID"))

// roleOrgUser is the role that every other role in an organization's spaces
// needs.
const roleOrgUser = "organization_user"

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

// RoleCreation is a role and how its user is called in errors.
type RoleCreation struct {
	Role     cf.Role `json:"role"`
	UserName string  `json:"user_name"`
}

var createRole = newAudited("cf.role.create", 1, func(tx *Tx, in RoleCreation) (none, error) {
	r := in.Role
	if !cloudUsers.has(tx, "id", r.UserGUID) {
		cloudUsers.put(tx, cf.CloudUser{Resource: cf.Resource{GUID: r.UserGUID, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt}})
	}
	var where string
	if r.SpaceGUID != "" {
		s, ok := spaces.get(tx, "id", r.SpaceGUID)
		if !ok {
			return none{}, cf.ErrUnprocessable.With("Invalid space. Ensure that the space exists and you have access to it.")
		}
		if !holds(tx, r.UserGUID, func(h cf.Role) bool { return h.OrgGUID == s.OrgGUID }) {
			return none{}, cf.ErrUnprocessable.With("Users cannot be assigned roles in a space if they do not have a role in that space's organization.")
		}
		where = "space '" + s.Name + "'"
	} else {
		o, ok := organizations.get(tx, "id", r.OrgGUID)
		if !ok {
			return none{}, cf.ErrUnprocessable.With("Invalid organization. Ensure that the organization exists and you have access to it.")
		}
		where = "organization '" + o.Name + "'"
	}
	same := func(h cf.Role) bool { return h.Type == r.Type && h.OrgGUID == r.OrgGUID && h.SpaceGUID == r.SpaceGUID }
	if holds(tx, r.UserGUID, same) {
		return none{}, cf.ErrUnprocessable.With("User '%s' already has '%s' role in %s.", in.UserName, r.Type, where)
	}
	roles.put(tx, r)
	return none{}, nil
})

// CreateRole gives a user a role; a user not known yet becomes known.
func (s *Store) CreateRole(ctx context.Context, c RoleCreation) error {
	_, err := createRole.do(ctx, s, c)
	return err
}

var deleteRole = newAudited("cf.role.delete", 1, func(tx *Tx, in Target) (none, error) {
	r, ok := roles.get(tx, "id", in.GUID)
	if !ok {
		return none{}, cf.ErrNotFound.With("Role not found")
	}
	if r.Type == roleOrgUser && holds(tx, r.UserGUID, func(h cf.Role) bool {
		s, inSpace := spaces.get(tx, "id", h.SpaceGUID)
		return inSpace && s.OrgGUID == r.OrgGUID
	}) {
		return none{}, cf.ErrUnprocessable.With("Cannot delete organization_user role while user has roles in spaces in that organization.")
	}
	roles.remove(tx, "id", in.GUID)
	return none{}, nil
})

// DeleteRole takes a role away.
func (s *Store) DeleteRole(ctx context.Context, t Target) error {
	_, err := deleteRole.do(ctx, s, t)
	return err
}

// holds reports whether a user has a role that matches.
func holds(r reader, user string, match func(cf.Role) bool) bool {
	for role := range roles.each(r, "user", user) {
		if match(role) {
			return true
		}
	}
	return false
}
