// Package staging holds what controllers, fence and the stager say to each
// other about one build.
package staging

import (
	"time"

	"github.com/stackato/stackato/wire/instance"
)

// Spec is one build as the stager gets it, through fence. It carries secrets
// (the environment): it is never part of a Nomad job.
type Spec struct {
	BuildGUID string `json:"build_guid"`
	// Token is good for this build's blobs and result, until its result.
	Token   string        `json:"token"`
	AppGUID string        `json:"app_guid"`
	AppName string        `json:"app_name"`
	Package instance.Blob `json:"package"` // zip
	// Cache is the app's build cache (tar.gz), zero if there is none.
	Cache instance.Blob `json:"cache,omitzero"`
	// Buildpacks in order. With Detect, the first that detects is taken;
	// else all are run, the last one being the final one.
	Buildpacks []Buildpack       `json:"buildpacks"`
	Detect     bool              `json:"detect"`
	Stack      string            `json:"stack"`
	Env        map[string]string `json:"env,omitempty"` // staging group, then app; VCAP_* included
	MemoryMB   int               `json:"memory_mb"`
	DiskMB     int               `json:"disk_mb"`
	Timeout    time.Duration     `json:"timeout_ns"`
	// Certificates are further trusted authorities, PEM.
	Certificates string `json:"certificates,omitempty"`
	HTTPProxy    string `json:"http_proxy,omitempty"`
	NoProxy      string `json:"no_proxy,omitempty"`
}

// Buildpack is one of a build's. Exactly one of Builtin, Blob and URL is set.
type Buildpack struct {
	Name    string        `json:"name"`
	Builtin string        `json:"builtin,omitempty"` // name of one in the stager's own program
	Blob    instance.Blob `json:"blob,omitzero"`     // zip
	URL     string        `json:"url,omitempty"`     // https git repository, "#branch" allowed
}

// Result is how a build ended. Error is "" for a droplet that was uploaded.
type Result struct {
	BuildGUID string        `json:"build_guid"`
	Droplet   instance.Blob `json:"droplet,omitzero"`
	Cache     instance.Blob `json:"cache,omitzero"`
	// ProcessTypes maps a process type to its command.
	ProcessTypes map[string]string  `json:"process_types,omitempty"`
	Sidecars     []instance.Sidecar `json:"sidecars,omitempty"`
	Buildpacks   []Detected         `json:"buildpacks,omitempty"`
	// Error is Cloud Foundry's code word of a failure (NoAppDetectedError,
	// StagingError, …), Detail a sentence for the developer.
	Error  string `json:"error,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Detected is a buildpack that took part.
type Detected struct {
	Name         string `json:"name"`
	DetectOutput string `json:"detect_output,omitempty"`
	Version      string `json:"version,omitempty"`
}

// Code words of failures, as Cloud Foundry's clients know them.
const (
	ErrNoAppDetected  = "NoAppDetectedError"
	ErrDetectFailed   = "BuildpackDetectFailed"
	ErrCompileFailed  = "BuildpackCompileFailed"
	ErrReleaseFailed  = "BuildpackReleaseFailed"
	ErrStaging        = "StagingError"
	ErrTimeout        = "StagingTimeExpired"
	ErrOutOfMemory    = "StagingOutOfMemory" // Cloud Foundry says StagerError; the log says why
	ErrInsufficient   = "InsufficientResources"
	ErrInvalidPackage = "AppBitsUploadInvalid"
)
