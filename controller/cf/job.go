package cf

import "time"

// States of jobs.
const (
	JobProcessing = "PROCESSING"
	JobComplete   = "COMPLETE"
	JobFailed     = "FAILED"
)

// Job is work that goes on after its request was answered.
type Job struct {
	Resource
	Operation    string    `json:"operation"` // "app.delete", …
	State        string    `json:"state"`
	ResourceGUID string    `json:"resource_guid,omitempty"`
	Errors       []Error   `json:"errors,omitempty"` // of a failed job: at least one
	Warnings     []string  `json:"warnings,omitempty"`
	UserGUID     string    `json:"user_guid,omitempty"` // who asked for it
	UserName     string    `json:"user_name,omitempty"`
	Ended        time.Time `json:"ended,omitzero"`
}
