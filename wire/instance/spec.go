package instance

import (
	"encoding/json"
	"time"
)

// Spec is everything that one instance of a process, or a task, is started
// from. It carries secrets: it travels from a controller to fence by mutual
// TLS, from there to the launcher by a unix socket, and lies sealed on disk.
type Spec struct {
	AppGUID     string `json:"app_guid"`
	AppName     string `json:"app_name"`
	SpaceGUID   string `json:"space_guid"`
	SpaceName   string `json:"space_name"`
	OrgGUID     string `json:"org_guid"`
	OrgName     string `json:"org_name"`
	ProcessGUID string `json:"process_guid"` // of the task, for a task
	ProcessType string `json:"process_type"` // "web", "worker", …; "task" for a task
	// Version identifies one version of the process; another droplet,
	// environment or command is another version.
	Version string `json:"version"`
	// TaskName is set for a task only. A task's exit is its end.
	TaskName string `json:"task_name,omitempty"`

	// Command is what "/bin/bash -c" is given in /home/vcap/app.
	Command string `json:"command"`
	// Env is the environment of the process: environment group, then the
	// app's own variables. What depends on the instance (PORT,
	// CF_INSTANCE_INDEX, …) is added by the launcher and wins.
	Env map[string]string `json:"env,omitempty"`
	// Application is VCAP_APPLICATION without the fields that depend on the
	// instance; Services is VCAP_SERVICES. Both are JSON objects.
	Application json.RawMessage `json:"application"`
	Services    json.RawMessage `json:"services"`

	Droplet   Blob      `json:"droplet"`
	MemoryMB  int       `json:"memory_mb"`
	DiskMB    int       `json:"disk_mb"`
	Health    Check     `json:"health"`    // start-up and liveness
	Readiness Check     `json:"readiness"` // type "process" means: ready when healthy
	Sidecars  []Sidecar `json:"sidecars,omitempty"`
	// LogRateBytes is how many bytes of log a second are kept; -1 is
	// unlimited.
	LogRateBytes int64 `json:"log_rate_bytes"`
	// Certificates are further trusted authorities, PEM, of the cluster's
	// bundle ("kato config"). The node's own bundle is always trusted.
	Certificates string `json:"certificates,omitempty"`
}

// Blob names a blob by content.
type Blob struct {
	Digest string `json:"digest"` // SHA-256, 64 hexadecimal digits
	Size   int64  `json:"size"`   // bytes
}

// Kinds of checks, as in Cloud Foundry.
const (
	CheckPort    = "port"
	CheckHTTP    = "http"
	CheckProcess = "process"
)

// Check is a health or readiness check. Zero durations mean the defaults of
// Cloud Foundry: 60 s to become healthy, 1 s for one invocation, 30 s between
// two of a healthy instance.
type Check struct {
	Type              string        `json:"type"` // CheckPort, CheckHTTP or CheckProcess
	Endpoint          string        `json:"endpoint,omitempty"`
	Timeout           time.Duration `json:"timeout_ns,omitempty"` // for the first success
	InvocationTimeout time.Duration `json:"invocation_timeout_ns,omitempty"`
	Interval          time.Duration `json:"interval_ns,omitempty"`
}

// Sidecar is a process beside the main one, in the same container.
type Sidecar struct {
	Name     string `json:"name"`
	Command  string `json:"command"`
	MemoryMB int    `json:"memory_mb,omitempty"`
	// ProcessTypes are those beside which it runs. Of a build's result only.
	ProcessTypes []string `json:"process_types,omitempty"`
}
