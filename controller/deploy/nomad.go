package deploy

import (
	"context"
	"errors"

	"github.com/hashicorp/nomad/api"
)

// ErrChanged means that somebody else has changed the job since it was listed.
var ErrChanged = errors.New("the job was changed by another Primary, or by hand")

// Nomad is what a cluster's scheduler does for this package. Its methods are
// safe for concurrent use; each call has a deadline.
type Nomad interface {
	// Jobs lists the jobs whose id begins with prefix. With after = 0 it
	// answers at once, else when something has changed since the list that
	// carried that index, or after half a minute.
	Jobs(ctx context.Context, prefix string, after uint64) (list []Job, index uint64, err error)
	// Register makes a job (index 0), or replaces the one that was listed
	// with that index. It returns the job's new index, or ErrChanged.
	Register(ctx context.Context, job *api.Job, index uint64) (uint64, error)
	// Scale changes the count of the job that was listed with that index,
	// and nothing else of it; ErrChanged if it is another one by now.
	Scale(ctx context.Context, id string, count int, index uint64) (uint64, error)
	// Remove stops the job and forgets it. One that is not there is no error.
	Remove(ctx context.Context, id string) error
	// Allocations lists those of a job, whatever became of them.
	Allocations(ctx context.Context, job string) ([]Alloc, error)
	// Allocation returns one, or ErrNoAllocation.
	Allocation(ctx context.Context, id string) (Alloc, error)
	// Collect makes Nomad forget what has ended.
	Collect(ctx context.Context) error
	// Unplaced says why Nomad finds no place for the job; nil if it does.
	Unplaced(ctx context.Context, job string) (*Unplaced, error)
}

// ErrNoAllocation means that Nomad knows no such allocation.
var ErrNoAllocation = errors.New("no such allocation")

// Job is a job as Nomad has it.
type Job struct {
	ID    string
	Index uint64 // for Register and Scale
	Count int    // what it asks for; only of an app's job
	// Stopped: Nomad runs nothing of it, whatever Count says.
	Stopped bool
	// Queued allocations wait for a place, Running ones run, Ended ones are
	// over.
	Queued, Running, Ended int
}

// Client states of an allocation, as Nomad says them.
const (
	AllocPending  = api.AllocClientStatusPending
	AllocRunning  = api.AllocClientStatusRunning
	AllocComplete = api.AllocClientStatusComplete
	AllocFailed   = api.AllocClientStatusFailed
	AllocLost     = api.AllocClientStatusLost
	AllocUnknown  = api.AllocClientStatusUnknown
)

// Alloc is one container of a job.
type Alloc struct {
	ID, Job string
	Node    string // node ID
	Index   int    // a label: [3] is the fourth
	State   string // AllocPending, …
	// Stopping: Nomad wants it to end.
	Stopping bool
	// What Nomad's client said of the end.
	ExitCode int
	OOM      bool   // ended by the memory limit, as Nomad heard in time
	Reason   string // of a container that could not be made
}

// killed is the status of a process that was ended by SIGKILL.
const killed = 128 + 9

// OutOfMemory reports whether the memory limit ended the container, as far as
// can be told: Docker tells of it in an event of its own, and Nomad does not
// always wait for that. Nobody else kills a container that is not stopping.
func (a Alloc) OutOfMemory() bool { return a.OOM || a.ExitCode == killed && !a.Stopping }

// Ended reports whether the container is over for good.
func (a Alloc) Ended() bool {
	return a.State == AllocComplete || a.State == AllocFailed || a.State == AllocLost
}

// Unplaced says why a container has no place.
type Unplaced struct {
	// Nodes that Nomad looked at, those that a constraint or a missing
	// volume filtered out, and those that were full.
	Nodes, Filtered, Exhausted int
	// Constraints names the metadata that nodes lacked ("role_dea",
	// "placement_zone_gold", …) and how many lacked each first.
	Constraints map[string]int
	// Image is what the job runs, when nodes lack it; so is Zone its placement
	// zone, when Nomad does not say what nodes lack.
	Image, Zone string
	// Dimensions names what was used up ("memory", "cpu", …).
	Dimensions map[string]int
}

// Full reports whether room is all that is missing: it may come.
func (u *Unplaced) Full() bool { return u.Exhausted > 0 }
