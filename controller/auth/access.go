package auth

import (
	"slices"
	"strings"
)

// Scopes of tokens that the Cloud Controller looks at.
const (
	ScopeRead          = "cloud_controller.read"
	ScopeWrite         = "cloud_controller.write"
	ScopeAdmin         = "cloud_controller.admin"
	ScopeAdminReadOnly = "cloud_controller.admin_read_only"
	ScopeGlobalAuditor = "cloud_controller.global_auditor"
)

// Grant is one role of the user in an organization or a space.
type Grant struct {
	Role      string // a role type
	OrgGUID   string // of an organization's role
	SpaceGUID string // of a space's role
}

// Access is what one user may do. It is safe for concurrent reading.
type Access struct {
	global Roles
	orgs   map[string]Roles
	spaces map[string]Roles
	read   bool
	write  bool
}

// NewAccess returns the access of a user with a token's scopes and roles.
// Grants with unknown role types are left out.
func NewAccess(scopes []string, grants []Grant) *Access {
	a := &Access{orgs: map[string]Roles{}, spaces: map[string]Roles{}}
	for scope, role := range map[string]Roles{ScopeAdmin: Admin, ScopeAdminReadOnly: AdminReadOnly, ScopeGlobalAuditor: GlobalAuditor} {
		if slices.Contains(scopes, scope) {
			a.global |= role
		}
	}
	a.write = a.global&Admin != 0 || slices.Contains(scopes, ScopeWrite)
	a.read = a.global != 0 || slices.Contains(scopes, ScopeRead)
	for _, g := range grants {
		switch role := Parse(g.Role); {
		case role.IsOrg():
			a.orgs[g.OrgGUID] |= role
		case role.IsSpace():
			a.spaces[g.SpaceGUID] |= role
		}
	}
	return a
}

// Admin reports whether the user is an administrator.
func (a *Access) Admin() bool { return a.global&Admin != 0 }

// HasScope reports whether the token may be used to read, or to write, at all.
func (a *Access) HasScope(write bool) bool {
	if write {
		return a.write
	}
	return a.read
}

// Changes reports whether an action changes something.
func (a Action) Changes() bool {
	return a != SignedIn && !strings.HasSuffix(string(a), ".read") && !strings.HasSuffix(string(a), ".secrets")
}

// Can reports whether the user may do action within an organization and a
// space of it; either may be "".
func (a *Access) Can(action Action, org, space string) bool {
	return Table[action]&a.roles(org, space) != 0
}

// Everywhere reports whether the user may do action anywhere, by a global
// role: then a list needs no filter.
func (a *Access) Everywhere(action Action) bool { return Table[action]&a.global != 0 }

func (a *Access) roles(org, space string) Roles {
	r := a.global
	if org != "" {
		r |= a.orgs[org]
	}
	if space != "" {
		r |= a.spaces[space]
	}
	return r
}
