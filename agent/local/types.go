package local

import (
	"time"

	"github.com/stackato/stackato/agent/node"
)

// Node types as [Info] shows them.
const (
	TypeUnconfigured = "unconfigured" // waits for setup or attach
	TypeMicro        = "micro"        // a cluster of one machine, made by setup micro
	TypeNode         = "node"         // a member of a cluster
)

// Voter states of a node in the consensus group.
const (
	VoterNone     = "none"     // not a controller: no part in Raft
	VoterNonvoter = "nonvoter" // a controller that follows, promoted when needed
	VoterVoter    = "voter"
	VoterPrimary  = "primary" // the elected leader
)

// Info describes a node. Fields that an unconfigured node cannot know are
// empty.
type Info struct {
	ID             node.ID      `json:"id"`
	Name           string       `json:"name"`
	Address        string       `json:"address"`
	Type           string       `json:"type"` // one of the Type constants
	Configured     bool         `json:"configured"`
	ClusterID      string       `json:"cluster_id"`
	Zone           string       `json:"zone"`
	PlacementZones []string     `json:"placement_zones"`
	Version        string       `json:"version"`
	AssignedRoles  node.RoleSet `json:"assigned_roles"`
	AvailableRoles node.RoleSet `json:"available_roles"` // what this release ships
	StoppedRoles   node.RoleSet `json:"stopped_roles"`
	Generation     uint64       `json:"generation"` // of the role set
	Primary        string       `json:"primary"`    // name; "" while there is none
	Voter          string       `json:"voter"`      // one of the Voter constants
	StartedAt      time.Time    `json:"started_at"` // of the agent
	// Paths are the files and directories of this node by purpose, such as
	// "data" → /var/lib/stackato.
	Paths map[string]string `json:"paths"`
}

// Version names the releases on a node.
type Version struct {
	Agent  string `json:"agent"`
	Go     string `json:"go"`
	Consul string `json:"consul"` // "" if not found
	Nomad  string `json:"nomad"`
	Docker string `json:"docker"`
}

// InitRequest makes the first node of a cluster. Empty fields take the
// value of the agent's configuration or its default.
type InitRequest struct {
	Name      string   `json:"name,omitempty"`      // of the node, a DNS label
	Advertise string   `json:"advertise,omitempty"` // IPv4 address that others reach
	Roles     []string `json:"roles,omitempty"`     // roles or groups; controller is implied
	Zone      string   `json:"zone,omitempty"`
	Domain    string   `json:"domain,omitempty"` // of the cluster, such as example.com
	Micro     bool     `json:"micro,omitempty"`
	NoStart   bool     `json:"no_start,omitempty"`
}

// InitResult is the new cluster.
type InitResult struct {
	ClusterID string `json:"cluster_id"`
	Node      string `json:"node"`
	// Admin is the first log-in; its password is also in AdminFile.
	Admin     *Credentials `json:"admin,omitempty"`
	AdminFile string       `json:"admin_file,omitempty"`
	Warnings  []string     `json:"warnings"`
}

// JoinRequest makes this node a member. Token is a secret.
type JoinRequest struct {
	// Primaries are addresses, DNS names or cloud auto-join strings of
	// controllers, tried in order.
	Primaries []string `json:"primaries"`
	Token     string   `json:"token"`
	Name      string   `json:"name,omitempty"`
	Advertise string   `json:"advertise,omitempty"`
	Roles     []string `json:"roles,omitempty"` // roles or groups; base is implied
	Zone      string   `json:"zone,omitempty"`
	NoStart   bool     `json:"no_start,omitempty"`
}

// JoinResult is the membership.
type JoinResult struct {
	ClusterID string       `json:"cluster_id"`
	Node      string       `json:"node"`
	Roles     node.RoleSet `json:"roles"`
	Primary   string       `json:"primary"`
	Warnings  []string     `json:"warnings"`
}

// LeaveRequest takes this node out.
type LeaveRequest struct {
	Force bool `json:"force,omitempty"` // also without quorum or as last controller
}

// NodeView is a member as the cluster sees it.
type NodeView struct {
	node.Node
	Voter   string `json:"voter"` // one of the Voter constants
	Primary bool   `json:"primary"`
	// Gossip is memberlist's view: "alive", "suspect", "dead", "left" or
	// "" if never seen. For display only.
	Gossip string `json:"gossip"`
	Self   bool   `json:"self"` // the node that answered
}

// NodeRemoveRequest names the node (name, id or address) to take out.
type NodeRemoveRequest struct {
	Node  string `json:"node"`
	Force bool   `json:"force,omitempty"`
}

// ZoneRequest sets an availability zone.
type ZoneRequest struct {
	Node string `json:"node,omitempty"`
	Zone string `json:"zone"`
}

// PlacementZonesRequest changes placement zones.
type PlacementZonesRequest struct {
	Node   string   `json:"node,omitempty"`
	Add    []string `json:"add,omitempty"`
	Remove []string `json:"remove,omitempty"`
}

// PlacementZones are the placement zones of a node.
type PlacementZones struct {
	Node  string   `json:"node"`
	Zones []string `json:"zones"`
}

// RoleView is a role and who carries it.
type RoleView struct {
	node.RoleInfo
	Nodes    []string `json:"nodes"`    // names, sorted
	Required bool     `json:"required"` // the cluster cannot be without it
}

// GroupView is a role group.
type GroupView struct {
	Name    string       `json:"name"`
	Roles   node.RoleSet `json:"roles"`
	Builtin bool         `json:"builtin"`
}

// RoleOp is what to do with a role set.
type RoleOp string

// The role operations.
const (
	RoleAdd    RoleOp = "add"
	RoleRemove RoleOp = "remove"
	RoleSet    RoleOp = "set" // exactly these (--only)
)

// RoleChange changes the roles of one node. Exactly one of Names, All and
// AllBut is set; with RoleSet only Names.
type RoleChange struct {
	Node    string   `json:"node,omitempty"` // name, id or address; "" is this node
	Op      RoleOp   `json:"op"`
	Names   []string `json:"names,omitempty"` // roles or groups
	All     bool     `json:"all,omitempty"`
	AllBut  []string `json:"all_but,omitempty"` // every role except these
	NoStart bool     `json:"no_start,omitempty"`
}

// RoleChangeResult is the role set after a change.
type RoleChangeResult struct {
	Node       string       `json:"node"`
	Before     node.RoleSet `json:"before"`
	Roles      node.RoleSet `json:"roles"`
	Generation uint64       `json:"generation"`
	Warnings   []string     `json:"warnings"` // not installed, node is down, …
}
