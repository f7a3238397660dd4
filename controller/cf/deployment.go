package cf

import "time"

// Status values and reasons of a deployment.
const (
	DeploymentActive    = "ACTIVE"
	DeploymentFinalized = "FINALIZED"

	ReasonDeploying  = "DEPLOYING"
	ReasonPaused     = "PAUSED"
	ReasonCanceling  = "CANCELING"
	ReasonDeployed   = "DEPLOYED"
	ReasonCanceled   = "CANCELED"
	ReasonSuperseded = "SUPERSEDED"

	StrategyRolling = "rolling"
	StrategyCanary  = "canary"
)

// Deployment replaces the instances of an app's web process by those of
// another version, without a gap. It is the plan; the counts on the way are
// worked out from what runs.
type Deployment struct {
	Resource
	Metadata
	AppGUID  string `json:"app_guid"`
	Status   string `json:"status"` // DeploymentActive or DeploymentFinalized
	Reason   string `json:"reason"`
	Strategy string `json:"strategy"`
	// MaxInFlight is how many instances may be on their way at once; at
	// least 1.
	MaxInFlight int `json:"max_in_flight"`
	// CanarySteps are instance weights in percent, ascending; none means one
	// step of one instance.
	CanarySteps []int `json:"canary_steps,omitempty"`
	// CanaryStep counts from 1; it is the one that runs or is paused at.
	CanaryStep int `json:"canary_step,omitempty"`
	// Error says why an active deployment does not get on; "" if it does.
	Error string `json:"error,omitempty"`

	ProcessGUID string `json:"process_guid"` // the web process
	// NewVersion is the web process' version that is rolled out. Until the
	// end Process.Version stays the one to go back to.
	NewVersion          string `json:"new_version"`
	DropletGUID         string `json:"droplet_guid"`
	PreviousDropletGUID string `json:"previous_droplet_guid,omitempty"`
	RevisionGUID        string `json:"revision_guid,omitempty"`
	RevisionVersion     int    `json:"revision_version,omitempty"`
	// Previous is what a rollback to a revision replaced; nil without one.
	Previous *AppRun `json:"previous,omitempty"`

	StatusChangedAt time.Time `json:"status_changed_at"`
	// LastHealthyAt is when an instance of NewVersion last became ready.
	LastHealthyAt time.Time `json:"last_healthy_at,omitzero"`
}

// AppRun is the part of an app that a revision keeps besides the droplet.
type AppRun struct {
	Env SecretMap `json:"env,omitempty"`
	// Commands holds the developer's own start commands by process type.
	Commands map[string]string `json:"commands,omitempty"`
	Sidecars []Sidecar         `json:"sidecars,omitempty"`
}
