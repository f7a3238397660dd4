package cf

import (
	"time"

	"github.com/stackato/stackato/wire/instance"
)

// ProcessWeb is the process type that every app has and that routes lead to
// unless they name another.
const ProcessWeb = "web"

// HealthCheck is a health or readiness check as its owner set it. Zero
// numbers mean the defaults of Cloud Foundry, see [instance.Check].
type HealthCheck struct {
	Type              string `json:"type"` // instance.CheckPort, CheckHTTP or CheckProcess
	Endpoint          string `json:"endpoint,omitempty"`
	Timeout           int    `json:"timeout_s,omitempty"`            // seconds
	InvocationTimeout int    `json:"invocation_timeout_s,omitempty"` // seconds
	Interval          int    `json:"interval_s,omitempty"`           // seconds
}

// Check returns the check in the terms of the node.
func (h HealthCheck) Check() instance.Check {
	return instance.Check{
		Type:              h.Type,
		Endpoint:          h.Endpoint,
		Timeout:           time.Duration(h.Timeout) * time.Second,
		InvocationTimeout: time.Duration(h.InvocationTimeout) * time.Second,
		Interval:          time.Duration(h.Interval) * time.Second,
	}
}

// ProcessSettings is what a container of a process is made from, besides the
// app's droplet and environment.
type ProcessSettings struct {
	// Command is the developer's; "" is the droplet's command for the type.
	Command      string      `json:"command,omitempty"`
	MemoryMB     int         `json:"memory_mb"`
	DiskMB       int         `json:"disk_mb"`
	LogRateBytes int64       `json:"log_rate_bytes"` // a second; -1 is unlimited
	Health       HealthCheck `json:"health"`
	Readiness    HealthCheck `json:"readiness"`
}

// Process is a process type of an app and how much of it shall run.
type Process struct {
	Resource
	Metadata
	ProcessSettings
	AppGUID   string `json:"app_guid"`
	Type      string `json:"type"`
	Instances int    `json:"instances"`
	// Version names the [ProcessVersion] that runs while the app is
	// started; "" before the first start. Changed settings wait for the next
	// version, which start, restart and deployments make.
	Version string `json:"version,omitempty"`
}

// ProcessVersion is the immutable snapshot that containers of a process are
// made from: two of them can run side by side in a deployment. Its settings'
// Command is never "" but for a droplet without one.
type ProcessVersion struct {
	ProcessSettings
	ProcessGUID   string         `json:"process_guid"`
	Version       string         `json:"version"`
	AppGUID       string         `json:"app_guid"`
	Type          string         `json:"type"`
	DropletGUID   string         `json:"droplet_guid"`
	Droplet       instance.Blob  `json:"droplet"`
	Stack         string         `json:"stack"`
	PlacementZone string         `json:"placement_zone,omitempty"`
	Env           SecretMap      `json:"env,omitempty"` // as App.Env
	Services      []BoundService `json:"services,omitempty"`
	Sidecars      []Sidecar      `json:"sidecars,omitempty"` // of this type only
	RevisionGUID  string         `json:"revision_guid,omitempty"`
	CreatedAt     time.Time      `json:"created_at"`
}
