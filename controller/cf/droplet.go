package cf

import "github.com/stackato/stackato/wire/instance"

// States of a droplet.
const (
	DropletAwaitingUpload   = "AWAITING_UPLOAD"
	DropletProcessingUpload = "PROCESSING_UPLOAD"
	DropletCopying          = "COPYING"
	DropletStaged           = "STAGED"
	DropletFailed           = "FAILED"
	DropletExpired          = "EXPIRED"
)

// Droplet is a staged app: a tar.gz with everything but the stack.
type Droplet struct {
	Resource
	Metadata
	AppGUID     string             `json:"app_guid"`
	PackageGUID string             `json:"package_guid,omitempty"` // "" for an uploaded one
	BuildGUID   string             `json:"build_guid,omitempty"`
	State       string             `json:"state"`
	Error       string             `json:"error,omitempty"`
	Blob        instance.Blob      `json:"blob,omitzero"`
	Stack       string             `json:"stack,omitempty"`
	Buildpacks  []DropletBuildpack `json:"buildpacks,omitempty"`
	// ProcessTypes maps a process type to the command that staging found.
	ProcessTypes map[string]string  `json:"process_types,omitempty"`
	Sidecars     []instance.Sidecar `json:"sidecars,omitempty"`
}

// DropletBuildpack is a buildpack that took part in a droplet.
type DropletBuildpack struct {
	Name         string `json:"name"`
	DetectOutput string `json:"detect_output,omitempty"`
	Version      string `json:"version,omitempty"`
}
