package cf

import "github.com/stackato/stackato/wire/instance"

// States of an app: what its owner wants.
const (
	AppStarted = "STARTED"
	AppStopped = "STOPPED"
)

// App is an application. Its processes say how much of it runs.
type App struct {
	Resource
	Metadata
	Name      string `json:"name"`
	SpaceGUID string `json:"space_guid"`
	State     string `json:"state"` // AppStarted or AppStopped
	// Buildpacks that the developer asked for, by name or URL; none means
	// detection.
	Buildpacks []string `json:"buildpacks,omitempty"`
	Stack      string   `json:"stack,omitempty"`
	// DropletGUID is the current droplet: what the next start runs.
	DropletGUID string `json:"droplet_guid,omitempty"`
	// Env is the app's own environment. A value is text, sealed for the
	// app's GUID and the variable's name.
	Env             SecretMap `json:"env,omitempty"`
	RevisionsOff    bool      `json:"revisions_off,omitempty"`
	SSHOff          bool      `json:"ssh_off,omitempty"`
	PlacementZone   string    `json:"placement_zone,omitempty"` // "" is "default"
	RevisionGUID    string    `json:"revision_guid,omitempty"`  // of the newest
	RevisionVersion int       `json:"revision_version,omitempty"`
	TaskSequence    int       `json:"task_sequence,omitempty"` // of the newest task
	// BuildCache is what the last build left for the next one (tar.gz).
	BuildCache instance.Blob `json:"build_cache,omitzero"`
}
