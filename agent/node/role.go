package node

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Role is a duty that a machine carries. Roles are assigned by operators;
// "primary" is not a role: it is elected among the controllers.
type Role string

// The roles of a Stackato cluster, in the order of their bits on the wire.
// Append only: the position of a role in this list is its bit in gossip.
const (
	Base         Role = "base"
	Controller   Role = "controller"
	Router       Role = "router"
	DEA          Role = "dea"
	MySQL        Role = "mysql"
	PostgreSQL   Role = "postgresql"
	Redis        Role = "redis"
	MongoDB      Role = "mongodb"
	Rabbit       Role = "rabbit"
	Memcached    Role = "memcached"
	Filesystem   Role = "filesystem"
	Harbor       Role = "harbor"
	LoadBalancer Role = "load_balancer"
	MDNS         Role = "mdns"
)

// RoleInfo describes a role to people.
type RoleInfo struct {
	Role        Role     `json:"role"`
	Description string   `json:"description"`
	Processes   []string `json:"processes"` // what runs for it, in start order
	// Installed is false for a role whose processes this release does not
	// ship yet: it can be assigned, and is shown as "not installed".
	Installed bool `json:"installed"`
}

var roleTable = []RoleInfo{
	{Base, "membership, supervision and log forwarding; on every node", []string{"consul"}, true},
	{Controller, "replicated state, API and scheduling servers; can become Primary", []string{"nomad"}, true},
	{Router, "HTTP and HTTPS entry to apps and API", nil, true},
	{DEA, "runs and stages app instances in containers", []string{"nomad"}, true},
	{MySQL, "MySQL data service", []string{"nomad"}, false},
	{PostgreSQL, "PostgreSQL data service", []string{"nomad"}, false},
	{Redis, "Redis data service", []string{"nomad"}, false},
	{MongoDB, "MongoDB data service", []string{"nomad"}, false},
	{Rabbit, "RabbitMQ data service", []string{"nomad"}, false},
	{Memcached, "memcached data service", []string{"nomad"}, false},
	{Filesystem, "directories shared by apps", []string{"nomad"}, false},
	{Harbor, "TCP and UDP ports for apps", []string{"nomad"}, false},
	{LoadBalancer, "spreads requests over routers; excludes every other role", nil, false},
	{MDNS, "announces *.local names of a micro cloud", nil, false},
}

// Roles returns every role with its description, in bit order.
func Roles() []RoleInfo { return slices.Clone(roleTable) }

// Info returns the description of r; ok is false for an unknown role.
func (r Role) Info() (RoleInfo, bool) {
	if i := r.bit(); i >= 0 {
		return roleTable[i], true
	}
	return RoleInfo{}, false
}

// bit is the position of r in the wire bitmap, -1 if r is unknown.
func (r Role) bit() int {
	return slices.IndexFunc(roleTable, func(i RoleInfo) bool { return i.Role == r })
}

// RoleSet is a set of known roles. The zero value is empty. It is a value:
// methods return new sets. In JSON it is a sorted list of names.
type RoleSet uint32

// NewRoleSet returns the set of the given roles. An unknown role panics:
// names from outside go through [ParseRole] or [Groups.Resolve] first.
func NewRoleSet(roles ...Role) RoleSet {
	var s RoleSet
	for _, r := range roles {
		i := r.bit()
		if i < 0 {
			panic("node: unknown role " + string(r))
		}
		s |= 1 << i
	}
	return s
}

// AllRoles is the set of every role.
func AllRoles() RoleSet { return 1<<len(roleTable) - 1 }

// DataServices is the set of roles that offer data services.
func DataServices() RoleSet {
	return NewRoleSet(MySQL, PostgreSQL, Redis, MongoDB, Rabbit, Memcached, Filesystem, Harbor)
}

// Has reports whether r is in the set.
func (s RoleSet) Has(r Role) bool {
	i := r.bit()
	return i >= 0 && s&(1<<i) != 0
}

// HasAny reports whether the sets share a role.
func (s RoleSet) HasAny(o RoleSet) bool { return s&o != 0 }

// With returns the set with o added.
func (s RoleSet) With(o RoleSet) RoleSet { return s | o }

// Without returns the set with o taken out.
func (s RoleSet) Without(o RoleSet) RoleSet { return s &^ o }

// Len returns how many roles are in the set.
func (s RoleSet) Len() int { return len(s.List()) }

// List returns the roles in bit order.
func (s RoleSet) List() []Role {
	var out []Role
	for i, info := range roleTable {
		if s&(1<<i) != 0 {
			out = append(out, info.Role)
		}
	}
	return out
}

// Strings returns the role names in bit order.
func (s RoleSet) Strings() []string {
	out := []string{}
	for _, r := range s.List() {
		out = append(out, string(r))
	}
	return out
}

// String returns the names joined by commas.
func (s RoleSet) String() string { return strings.Join(s.Strings(), ",") }

// NotInstalled returns the roles of the set whose processes this release
// does not ship.
func (s RoleSet) NotInstalled() RoleSet {
	var out RoleSet
	for i, info := range roleTable {
		if s&(1<<i) != 0 && !info.Installed {
			out |= 1 << i
		}
	}
	return out
}

// RunsNomadClient reports whether a node with these roles runs a Nomad client.
func (s RoleSet) RunsNomadClient() bool { return s.HasAny(NewRoleSet(DEA).With(DataServices())) }

// MarshalJSON writes the set as a list of names.
func (s RoleSet) MarshalJSON() ([]byte, error) { return json.Marshal(s.Strings()) }

// UnmarshalJSON reads a list of names; an unknown one is an error.
func (s *RoleSet) UnmarshalJSON(b []byte) error {
	var names []string
	if err := json.Unmarshal(b, &names); err != nil {
		return fmt.Errorf("role set: %w", err)
	}
	var out RoleSet
	for _, n := range names {
		r, err := ParseRole(n)
		if err != nil {
			return err
		}
		out |= NewRoleSet(r)
	}
	*s = out
	return nil
}

// ParseRole checks a role name from outside. The error suggests the nearest
// known name.
func ParseRole(name string) (Role, error) {
	r := Role(name)
	if r.bit() >= 0 {
		return r, nil
	}
	return "", unknownName("role", name, AllRoles().Strings())
}
