package state

import (
	"context"
	"slices"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

var tasks = newTable[cf.Task]("cf_tasks", byGUID(), by("app", "AppGUID"), by("state", "State"))

// Task returns one task.
func (v *View) Task(guid string) (cf.Task, bool) { return tasks.get(v, "id", guid) }

// Tasks returns all tasks, in no useful order.
func (v *View) Tasks() []cf.Task { return tasks.list(v, "id") }

// TasksInState returns the tasks in a state. TaskPending, TaskRunning and
// TaskCanceling are work to do.
func (v *View) TasksInState(state string) []cf.Task { return tasks.list(v, "state", state) }

// TasksOfApp returns the tasks of an app, the oldest first.
func (v *View) TasksOfApp(appGUID string) []cf.Task { return tasksOfApp(v, appGUID) }

func tasksOfApp(r reader, appGUID string) []cf.Task {
	out := tasks.list(r, "app", appGUID)
	slices.SortFunc(out, func(a, b cf.Task) int { return a.SequenceID - b.SequenceID })
	return out
}

// tasksKept is how many tasks of an app are remembered after their end.
const tasksKept = 100

var createTask = newAudited("cf.task.create", 1, func(tx *Tx, in cf.Task) (cf.Task, error) {
	a, err := getApp(tx, in.AppGUID)
	if err != nil {
		return in, err
	}
	if in.DropletGUID == "" {
		in.DropletGUID = a.DropletGUID
	}
	d, ok := droplets.get(tx, "id", in.DropletGUID)
	if !ok || d.State != cf.DropletStaged || d.AppGUID != a.GUID {
		return in, cf.ErrUnprocessable.With("Task must have a droplet. Specify droplet or assign current droplet to app.")
	}
	if err := checkTaskQuota(tx, a, in.MemoryMB); err != nil {
		return in, err
	}
	a.TaskSequence++
	apps.put(tx, a)
	in.State, in.SequenceID = cf.TaskPending, a.TaskSequence
	in.Droplet, in.Stack, in.PlacementZone = d.Blob, a.Stack, a.PlacementZone
	if d.Stack != "" {
		in.Stack = d.Stack
	}
	in.Env, in.Services = a.Env, boundServices(tx, a.GUID)
	tasks.put(tx, in)
	all := tasksOfApp(tx, a.GUID)
	for _, t := range all[:max(0, len(all)-tasksKept)] {
		if t.Ended() {
			tasks.remove(tx, "id", t.GUID)
		}
	}
	return in, nil
})

// CreateTask adds a task, pending, and returns it with its sequence id. It
// runs in the droplet that it names, or in the app's current one.
func (s *Store) CreateTask(ctx context.Context, t cf.Task) (cf.Task, error) {
	return createTask.do(ctx, s, t)
}

// TaskUpdate changes a task.
type TaskUpdate struct {
	GUID string `json:"guid"`
	// State, if not "", is the new state: a task that has ended keeps its
	// own, one that is canceling does not run again.
	State         string           `json:"state,omitempty"`
	FailureReason string           `json:"failure_reason,omitempty"`
	Metadata      cf.MetadataPatch `json:"metadata,omitzero"`
	At            time.Time        `json:"at"`
}

var updateTask = newAudited("cf.task.update", 1, func(tx *Tx, in TaskUpdate) (cf.Task, error) {
	t, ok := tasks.get(tx, "id", in.GUID)
	if !ok {
		return t, cf.ErrNotFound.With("Task not found")
	}
	t.Metadata = t.Patched(in.Metadata)
	t.UpdatedAt = in.At
	if in.State != "" && !t.Ended() && (t.State != cf.TaskCanceling || in.State != cf.TaskRunning) {
		t.State, t.FailureReason = in.State, in.FailureReason
	}
	tasks.put(tx, t)
	return t, nil
})

// UpdateTask changes a task and returns it.
func (s *Store) UpdateTask(ctx context.Context, u TaskUpdate) (cf.Task, error) {
	return updateTask.do(ctx, s, u)
}

var cancelTask = newAudited("cf.task.cancel", 1, func(tx *Tx, in Target) (cf.Task, error) {
	t, ok := tasks.get(tx, "id", in.GUID)
	if !ok {
		return t, cf.ErrNotFound.With("Task not found")
	}
	if t.Ended() {
		return t, cf.ErrUnprocessable.With("Task state is %s and therefore cannot be canceled", t.State)
	}
	t.State = cf.TaskCanceling
	t.UpdatedAt = in.At
	tasks.put(tx, t)
	return t, nil
})

// CancelTask asks for a task's end and returns it.
func (s *Store) CancelTask(ctx context.Context, t Target) (cf.Task, error) {
	return cancelTask.do(ctx, s, t)
}
