package cf

import "github.com/stackato/stackato/wire/instance"

// States of a task.
const (
	TaskPending   = "PENDING"
	TaskRunning   = "RUNNING"
	TaskCanceling = "CANCELING"
	TaskSucceeded = "SUCCEEDED"
	TaskFailed    = "FAILED"
)

// Task runs a command once, in a container of a droplet.
type Task struct {
	Resource
	Metadata
	AppGUID       string         `json:"app_guid"`
	SequenceID    int            `json:"sequence_id"` // counts within the app
	Name          string         `json:"name"`
	Command       string         `json:"command"`
	State         string         `json:"state"`
	FailureReason string         `json:"failure_reason,omitempty"`
	MemoryMB      int            `json:"memory_mb"`
	DiskMB        int            `json:"disk_mb"`
	LogRateBytes  int64          `json:"log_rate_bytes"`
	DropletGUID   string         `json:"droplet_guid"`
	Droplet       instance.Blob  `json:"droplet"`
	Stack         string         `json:"stack"`
	PlacementZone string         `json:"placement_zone,omitempty"`
	Env           SecretMap      `json:"env,omitempty"` // as App.Env
	Services      []BoundService `json:"services,omitempty"`
}

// Ended reports whether the task is over.
func (t Task) Ended() bool { return t.State == TaskSucceeded || t.State == TaskFailed }
