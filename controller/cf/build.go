package cf

import "github.com/stackato/stackato/wire/instance"

// States of a build.
const (
	BuildStaging = "STAGING"
	BuildStaged  = "STAGED"
	BuildFailed  = "FAILED"
)

// Build makes a droplet from a package.
type Build struct {
	Resource
	Metadata
	AppGUID     string   `json:"app_guid"`
	PackageGUID string   `json:"package_guid"`
	State       string   `json:"state"`
	Buildpacks  []string `json:"buildpacks,omitempty"` // asked for; none means detection
	Stack       string   `json:"stack"`
	MemoryMB    int      `json:"memory_mb"`
	DiskMB      int      `json:"disk_mb"`
	// LogRateBytes is a second; -1 is unlimited.
	LogRateBytes int64 `json:"log_rate_bytes"`
	// Error is "<code word> - <sentence>" of a failed build.
	Error       string `json:"error,omitempty"`
	DropletGUID string `json:"droplet_guid,omitempty"` // of a staged one
	CreatedBy   Actor  `json:"created_by,omitzero"`
	// TokenHash is the SHA-256 of the token that the stager shows, in hex.
	TokenHash string `json:"token_hash,omitempty"`
	// Uploaded are the blobs that were stored with the present token: a
	// result names these alone. Shared with the state: never change it.
	Uploaded []instance.Blob `json:"uploaded,omitempty"`
}

// Actor is who made something.
type Actor struct {
	GUID  string `json:"guid"`
	Name  string `json:"name"`
	Email string `json:"email,omitempty"`
}
