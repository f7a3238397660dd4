package instance

import "time"

// Launch is everything that the first process of a container needs to start
// an instance or a task: what a controller says, and what only the node knows.
// It travels over fence's socket and is never written to a disk.
type Launch struct {
	Spec Spec `json:"spec"`
	// InstanceGUID is the Nomad allocation, which is the identity of the
	// instance; Index is its label.
	InstanceGUID string `json:"instance_guid"`
	Index        int    `json:"index"`
	// Host is the node's address, Port the published port on it; 0 if the
	// container publishes none (tasks).
	Host string `json:"host"`
	Port int    `json:"port,omitempty"`
	// InternalIP is the container's own address.
	InternalIP string `json:"internal_ip,omitempty"`
	// StopBound is how long routers may take to let the instance go,
	// Grace how long the app may take to end after SIGTERM.
	StopBound time.Duration `json:"stop_bound_ns"`
	Grace     time.Duration `json:"grace_ns"`
}

// ContainerPort is where an app listens inside of its container.
const ContainerPort = 8080

// Kinds of containers, as their label stackato.kind says.
const (
	KindApp     = "app"
	KindTask    = "task"
	KindStaging = "staging"
)
