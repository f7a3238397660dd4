package supervise

import "time"

// State is what a child is doing.
type State string

// The states of a child.
const (
	Starting State = "starting" // the process lives, its readiness check has not passed yet
	Running  State = "running"  // the process lives and is ready
	Waiting  State = "backoff"  // it died and is started again at NextStart
	Stopping State = "stopping" // it was told to end and has not yet
	Stopped  State = "stopped"  // somebody stopped it, or Run has not begun
	Failed   State = "failed"   // it was given up; Error says why
	Detached State = "detached" // Run ended and left the process running
)

// Status is what `kato process list` shows of a child.
type Status struct {
	Name      string    `json:"name"`
	State     State     `json:"state"`
	PID       int       `json:"pid,omitempty"`
	Since     time.Time `json:"since"`               // of the state
	StartedAt time.Time `json:"started_at,omitzero"` // of the process
	Adopted   bool      `json:"adopted,omitempty"`   // started by an earlier agent
	Restarts  int       `json:"restarts"`            // unplanned, since Run began
	NextStart time.Time `json:"next_start,omitzero"` // in state Waiting

	Error      string    `json:"error,omitempty"`     // why it does not run or is not ready
	LastExit   string    `json:"last_exit,omitempty"` // "exit status 1", "signal: killed"
	LastExitAt time.Time `json:"last_exit_at,omitzero"`
	LastLog    []string  `json:"last_log,omitempty"` // last lines before that exit, at most 10
	LogFile    string    `json:"log_file"`
}

// Alive reports whether a process of the child lives.
func (s Status) Alive() bool { return s.PID != 0 }
