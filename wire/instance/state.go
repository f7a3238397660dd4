package instance

import "time"

// State of an instance. The first four are what Cloud Foundry's clients know.
type State string

// The states.
const (
	Starting State = "STARTING" // container made, not healthy yet
	Running  State = "RUNNING"  // healthy
	Crashed  State = "CRASHED"  // ended; held back until Retry
	Down     State = "DOWN"     // nothing runs, nobody says why
	Stopping State = "STOPPING" // told to end, out of the routes
	Gone     State = "GONE"     // the container is removed: forget it
)

// Status is what a node says of one instance. AllocID is its identity; Index
// is a label that two instances can share for a moment.
type Status struct {
	AllocID     string `json:"alloc_id"` // of Nomad
	Node        string `json:"node"`     // node ID
	AppGUID     string `json:"app_guid"`
	ProcessGUID string `json:"process_guid"`
	ProcessType string `json:"process_type"`
	Version     string `json:"version"`
	Index       int    `json:"index"`
	State       State  `json:"state"`
	// Ready: routers may send requests to Address.
	Ready   bool      `json:"ready"`
	Address string    `json:"address,omitempty"` // host:port on the node, "" without a port
	Since   time.Time `json:"since"`             // of State
	Started time.Time `json:"started,omitzero"`  // of the container
	Retry   time.Time `json:"retry,omitzero"`    // when a crashed instance is started again
	Crashes int       `json:"crashes"`           // in a row
	// Reason says in a sentence why the instance is not running.
	Reason   string `json:"reason,omitempty"`
	ExitCode int    `json:"exit_code,omitempty"`
	OOM      bool   `json:"oom,omitempty"` // ended by the memory limit
	Usage    Usage  `json:"usage,omitzero"`
}

// StartedAt is Started in Unix nanoseconds, 0 if it is not known.
func (s Status) StartedAt() int64 {
	if s.Started.IsZero() {
		return 0
	}
	return s.Started.UnixNano()
}

// Usage is what an instance uses.
type Usage struct {
	CPU      float64   `json:"cpu"` // of one core, 1 = 100 %
	MemBytes int64     `json:"mem_bytes"`
	DiskByte int64     `json:"disk_bytes"`
	LogRate  int64     `json:"log_rate"` // bytes/s
	At       time.Time `json:"at"`
}

// Report is one message of a node's state stream: first a snapshot of all its
// instances, then changes.
type Report struct {
	Snapshot  bool     `json:"snapshot,omitempty"`
	Instances []Status `json:"instances"`
	// Images are those that the node has and has verified; nil when they are as
	// before, or not known yet.
	Images *[]string `json:"images,omitempty"`
}
