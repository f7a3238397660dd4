package auth

import "strings"

// Roles is a set of roles.
type Roles uint16

// The roles. The first three come from a token's scopes, the others are rows
// in the state.
const (
	Admin Roles = 1 << iota
	AdminReadOnly
	GlobalAuditor
	OrgUser
	OrgAuditor
	OrgBilling
	OrgManager
	SpaceAuditor
	SpaceSupporter
	SpaceDeveloper
	SpaceManager
)

// Groups that the table uses.
const (
	globalReaders = Admin | AdminReadOnly | GlobalAuditor
	orgRoles      = OrgUser | OrgAuditor | OrgBilling | OrgManager
	spaceRoles    = SpaceAuditor | SpaceSupporter | SpaceDeveloper | SpaceManager
	anyone        = globalReaders | orgRoles | spaceRoles
)

// names in the order of the constants; those of rows are Cloud Foundry's role
// types.
var names = []string{
	"admin", "admin_read_only", "global_auditor",
	"organization_user", "organization_auditor", "organization_billing_manager", "organization_manager",
	"space_auditor", "space_supporter", "space_developer", "space_manager",
}

// Parse returns the role of one name, 0 if there is none such.
func Parse(name string) Roles {
	for i, n := range names {
		if n == name {
			return 1 << i
		}
	}
	return 0
}

// IsOrg reports whether all roles of the set are held in an organization.
func (r Roles) IsOrg() bool { return r != 0 && r&^orgRoles == 0 }

// IsSpace reports whether all roles of the set are held in a space.
func (r Roles) IsSpace() bool { return r != 0 && r&^spaceRoles == 0 }

// Names lists the roles of the set.
func (r Roles) Names() []string {
	var out []string
	for i, n := range names {
		if r&(1<<i) != 0 {
			out = append(out, n)
		}
	}
	return out
}

// String joins the names of the set with commas.
func (r Roles) String() string { return strings.Join(r.Names(), ", ") }
