package local

import (
	"encoding/json"
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

// State is how a role or process fares.
type State string

// The states of roles and processes.
const (
	StateRunning      State = "running"
	StateStarting     State = "starting"
	StateFailed       State = "failed"
	StateStopped      State = "stopped"       // by an operator
	StateNotInstalled State = "not_installed" // assigned, but this release does not ship it
	StateUnknown      State = "unknown"       // the node did not answer
)

// Bad reports whether the state is one that an operator must look at: the
// role should run and does not (or nobody knows).
func (s State) Bad() bool { return s == StateFailed || s == StateUnknown || s == StateStarting }

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

// Status is the state of the cluster's roles, node by node.
type Status struct {
	ClusterID string       `json:"cluster_id"`
	Primary   string       `json:"primary"` // name; "" while there is none
	Voters    []string     `json:"voters"`  // names, sorted
	Redundant bool         `json:"redundant"`
	Notes     []string     `json:"notes"` // "not redundant: …", one sentence each
	Nodes     []NodeStatus `json:"nodes"` // sorted by name
}

// NodeStatus is one node's answer, with gossip's view beside it.
type NodeStatus struct {
	Name       string        `json:"name"`
	ID         node.ID       `json:"id"`
	Address    string        `json:"address"`
	Reachable  bool          `json:"reachable"` // answered the RPC within 1.5 s
	Gossip     string        `json:"gossip"`    // as in NodeView
	Voter      string        `json:"voter"`
	Zone       string        `json:"zone"`
	Version    string        `json:"version"`
	Generation uint64        `json:"generation"` // that the node has applied
	Roles      []RoleStatus  `json:"roles"`      // assigned roles only
	Error      string        `json:"error,omitempty"`
	Took       time.Duration `json:"took_ns"` // until the answer
}

// RoleStatus is the state of a role on a node.
type RoleStatus struct {
	Role   node.Role `json:"role"`
	State  State     `json:"state"`
	Detail string    `json:"detail,omitempty"` // why, when it is not running
}

// Healthy reports whether everything that should run does, and there is a
// Primary.
func (s Status) Healthy() bool {
	for _, n := range s.Nodes {
		if !n.Reachable {
			return false
		}
		for _, r := range n.Roles {
			if r.State.Bad() {
				return false
			}
		}
	}
	return s.Primary != ""
}

// Process is a supervised process.
type Process struct {
	Node      string       `json:"node"`
	Name      string       `json:"name"`
	Roles     node.RoleSet `json:"roles"` // whose process it is
	State     State        `json:"state"`
	PID       int          `json:"pid"` // 0 if not running
	StartedAt time.Time    `json:"started_at,omitzero"`
	Restarts  int          `json:"restarts"` // since the agent started
	Ready     bool         `json:"ready"`
	Version   string       `json:"version"`
	LogFile   string       `json:"log_file"`
	Error     string       `json:"error,omitempty"` // of the last exit or check
}

// Readiness answers "is it ready".
type Readiness struct {
	Ready   bool      `json:"ready"`
	Waiting []Process `json:"waiting"` // those that are not ready yet
}

// ControlOp starts or stops roles.
type ControlOp string

// The control operations.
const (
	ControlStart   ControlOp = "start"
	ControlStop    ControlOp = "stop"
	ControlRestart ControlOp = "restart"
)

// RoleControl starts, stops or restarts roles of this node.
type RoleControl struct {
	Op    ControlOp `json:"op"`
	Names []string  `json:"names,omitempty"` // roles or groups; none means all
}

// RoleControlResult is the state afterwards.
type RoleControlResult struct {
	Node     string       `json:"node"`
	Roles    []RoleStatus `json:"roles"`
	Warnings []string     `json:"warnings"`
}

// ConfigEntry is a replicated setting.
type ConfigEntry struct {
	Key     string          `json:"key"`
	Value   json.RawMessage `json:"value"`
	Type    string          `json:"type"` // JSON type: string, number, boolean, array, object, null
	Set     bool            `json:"set"`  // false: Value is the default
	Version uint64          `json:"version"`
	// Modified is zero for a default.
	Modified    time.Time `json:"modified,omitzero"`
	Description string    `json:"description,omitempty"` // of known settings
}

// ConfigSetRequest writes a setting.
type ConfigSetRequest struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
	Force bool            `json:"force,omitempty"` // allow another JSON type
	// IfVersion, if not nil, demands that the entry has this version now
	// (0: is not set).
	IfVersion *uint64 `json:"if_version,omitempty"`
}

// TokenCreateRequest describes a join token.
type TokenCreateRequest struct {
	Roles []string      `json:"roles,omitempty"`  // roles or groups it allows; none means any
	TTL   time.Duration `json:"ttl_ns,omitempty"` // 0: the default, 1 h
	Uses  int           `json:"uses,omitempty"`   // 0: the default, 1
}

// Token is a join token without its secret.
type Token struct {
	ID        string       `json:"id"`
	Roles     node.RoleSet `json:"roles"` // allowed
	Uses      int          `json:"uses"`  // left
	CreatedAt time.Time    `json:"created_at"`
	ExpiresAt time.Time    `json:"expires_at"`
	Expired   bool         `json:"expired"`
}

// NewToken is a token just made: Secret is the whole text to hand to join,
// shown once.
type NewToken struct {
	Token
	Secret string `json:"token"`
}

// Credentials are a log-in.
type Credentials struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// RotateWhat names a key of the cluster.
type RotateWhat string

// What can be rotated.
const (
	RotateGossipKey  RotateWhat = "gossip-key"
	RotateCA         RotateWhat = "ca"
	RotateSealingKey RotateWhat = "sealing-key"
)

// RotateResult tells what a rotation did.
type RotateResult struct {
	What RotateWhat `json:"what"`
	// KeyID identifies the new key, never the key itself.
	KeyID string `json:"key_id"`
	Steps []Step `json:"steps"`
	// Pending are nodes that have not taken the new key yet; the cluster
	// keeps the old one valid until they have, or until OverlapUntil.
	Pending      []string  `json:"pending"`
	OverlapUntil time.Time `json:"overlap_until,omitzero"`
	Warnings     []string  `json:"warnings"`
}

// Step states.
const (
	StepStarted = "started"
	StepDone    = "done"
	StepFailed  = "failed"
	StepNote    = "note" // something to tell, not a step of its own
)

// Step is one event of a long operation. The same Name comes first as
// started, then as done or failed.
type Step struct {
	Name   string `json:"name"`             // "issue node certificate"
	State  string `json:"state"`            // one of the Step constants
	Detail string `json:"detail,omitempty"` // never a secret
	Index  int    `json:"index,omitempty"`  // from 1, if the number of steps is known
	Total  int    `json:"total,omitempty"`
}

// Finding statuses.
const (
	FindingOK   = "ok"
	FindingWarn = "warn"
	FindingFail = "fail"
)

// Finding is the outcome of one check of Inspect.
type Finding struct {
	Check  string `json:"check"`  // "clock", "disk", …
	Status string `json:"status"` // one of the Finding constants
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"` // what to do; set unless ok
}
