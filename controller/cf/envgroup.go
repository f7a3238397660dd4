package cf

import "time"

// Names of the environment variable groups.
const (
	EnvRunning = "running"
	EnvStaging = "staging"
)

// EnvGroup holds variables of all apps when they run or are staged. Every user
// may read them: they are no place for secrets.
type EnvGroup struct {
	Name string `json:"name"`
	// Var is shared with the state: never change it in place.
	Var       map[string]string `json:"var,omitempty"`
	UpdatedAt time.Time         `json:"updated_at,omitzero"`
}
