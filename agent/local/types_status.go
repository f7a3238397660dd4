package local

import (
	"time"

	"github.com/stackato/stackato/agent/node"
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
