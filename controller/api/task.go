package api

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (a *API) taskRoutes() []route {
	return []route{
		{"POST", "/v3/apps/{guid}/tasks", auth.AppManage, "Run a command once.", createTask},
		{"GET", "/v3/apps/{guid}/tasks", auth.AppRead, "List an app's tasks.", listAppTasks},
		{"GET", "/v3/tasks", auth.AppRead, "List tasks.", listTasks},
		{"GET", "/v3/tasks/{guid}", auth.AppRead, "Show a task.", getTask},
		{"PATCH", "/v3/tasks/{guid}", auth.AppWrite, "Change a task's metadata.", updateTask},
		{"PUT", "/v3/tasks/{guid}/cancel", auth.AppManage, "End a task.", cancelTask},
		{"POST", "/v3/tasks/{guid}/actions/cancel", auth.AppManage, "End a task.", cancelTask},
	}
}

type taskJSON struct {
	head
	SequenceID    int            `json:"sequence_id"`
	Name          string         `json:"name"`
	Command       *string        `json:"command,omitempty"` // only for who may see secrets
	State         string         `json:"state"`
	MemoryMB      int            `json:"memory_in_mb"`
	DiskMB        int            `json:"disk_in_mb"`
	LogRate       int64          `json:"log_rate_limit_in_bytes_per_second"`
	Result        taskResultJSON `json:"result"`
	DropletGUID   string         `json:"droplet_guid"`
	Relationships map[string]any `json:"relationships"`
	Metadata      metadata       `json:"metadata"`
	Links         links          `json:"links"`
}

type taskResultJSON struct {
	FailureReason *string `json:"failure_reason"`
}

func presentTask(r *request, t cf.Task) any {
	self := r.link("/v3/tasks/", t.GUID)
	out := taskJSON{
		head: headOf(t.Resource), SequenceID: t.SequenceID, Name: t.Name, State: t.State, MemoryMB: t.MemoryMB, DiskMB: t.DiskMB,
		LogRate: t.LogRateBytes, Result: taskResultJSON{orNull(t.FailureReason)}, DropletGUID: t.DropletGUID,
		Relationships: map[string]any{"app": toOne(t.AppGUID)}, Metadata: metadataOf(t.Metadata),
		Links: links{
			"self": {Href: self}, "app": {Href: r.link("/v3/apps/", t.AppGUID)},
			"cancel":  {Href: self + "/actions/cancel", Method: "POST"},
			"droplet": {Href: r.link("/v3/droplets/", t.DropletGUID)},
		},
	}
	space := r.spaceOfApp(t.AppGUID)
	if r.can.Can(auth.AppSecrets, r.orgOfSpace(space), space) {
		out.Command = &t.Command
	}
	return out
}

func taskApp(t *cf.Task) string { return t.AppGUID }

func listAppTasks(r *request) (response, error) {
	if _, err := r.app(auth.AppRead); err != nil {
		return response{}, err
	}
	return listTasks(r)
}

func listTasks(r *request) (response, error) {
	filters := map[string]func(*cf.Task) string{
		"names":  func(t *cf.Task) string { return t.Name },
		"states": func(t *cf.Task) string { return t.State },
	}
	if r.guid() != "" {
		filters["sequence_ids"] = func(t *cf.Task) string { return strconv.Itoa(t.SequenceID) }
	}
	return listing[cf.Task]{
		resource: func(t *cf.Task) cf.Resource { return t.Resource },
		metadata: func(t *cf.Task) cf.Metadata { return t.Metadata },
		filters:  appFilters(r, taskApp, filters),
		present:  presentTask,
	}.serve(r, readable(r, ofApps(r, r.view.TasksOfApp, r.view.Tasks), taskApp))
}

// task is the path's task and its app, if the user may do action.
func (r *request) task(action auth.Action) (cf.Task, cf.App, error) {
	t, found := r.view.Task(r.guid())
	if !found {
		return t, cf.App{}, cf.ErrNotFound.With("Task not found")
	}
	a, err := r.appNamed(t.AppGUID, action, "Task")
	return t, a, err
}

func getTask(r *request) (response, error) {
	t, _, err := r.task(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	return ok(presentTask(r, t))
}

func updateTask(r *request) (response, error) {
	t, _, err := r.task(auth.AppWrite)
	if err != nil {
		return response{}, err
	}
	meta, err := r.metadataOnly()
	if err != nil {
		return response{}, err
	}
	if t, err = r.store().UpdateTask(r.Context(), state.TaskUpdate{GUID: t.GUID, Metadata: meta, At: r.now}); err != nil {
		return response{}, err
	}
	return ok(presentTask(r, t))
}

// taskBody is the body of a new task.
type taskBody struct {
	Name        string  `json:"name"`
	Command     *string `json:"command"`
	MemoryMB    *int    `json:"memory_in_mb"`
	DiskMB      *int    `json:"disk_in_mb"`
	LogRate     *int64  `json:"log_rate_limit_in_bytes_per_second"`
	DropletGUID string  `json:"droplet_guid"`
	Template    *struct {
		Process struct {
			GUID string `json:"guid"`
		} `json:"process"`
	} `json:"template"`
	Metadata *metadataBody `json:"metadata"`
}

func createTask(r *request) (response, error) {
	a, err := r.app(auth.AppManage)
	if err != nil {
		return response{}, err
	}
	if err := r.requireFlag("task_creation"); err != nil {
		return response{}, err
	}
	var body taskBody
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	t, err := r.newTask(a, body)
	if err != nil {
		return response{}, err
	}
	ctx := r.auditApp("audit.app.task.create", a, map[string]any{"task_guid": t.GUID, "request": map[string]any{"name": t.Name, "command": "[PRIVATE DATA HIDDEN]"}})
	if t, err = r.store().CreateTask(ctx, t); err != nil {
		return response{}, err
	}
	return response{status: http.StatusAccepted, body: presentTask(r, t)}, nil
}

func (r *request) newTask(a cf.App, body taskBody) (cf.Task, error) {
	t := cf.Task{Resource: r.resource(), AppGUID: a.GUID, Name: body.Name, DropletGUID: body.DropletGUID}
	settings := r.newSettings()
	if body.Template != nil {
		p, found := r.view.Process(body.Template.Process.GUID)
		if !found || p.AppGUID != a.GUID {
			return t, cf.ErrNotFound.With("Process not found")
		}
		settings = p.ProcessSettings
		if d, found := r.view.Droplet(a.DropletGUID); found && settings.Command == "" {
			settings.Command = d.ProcessTypes[p.Type]
		}
	}
	t.Command = deref(body.Command, settings.Command)
	t.MemoryMB, t.DiskMB = deref(body.MemoryMB, settings.MemoryMB), deref(body.DiskMB, settings.DiskMB)
	t.LogRateBytes = deref(body.LogRate, settings.LogRateBytes)
	t.Name = cmp.Or(t.Name, strings.ReplaceAll(t.GUID, "-", "")[:8])
	size := scaleBody{MemoryMB: body.MemoryMB, DiskMB: body.DiskMB, LogRate: body.LogRate}
	p := size.problems(r)
	p.check(t.Command != "", "Command can't be blank; or template")
	p.check(len(t.Command) <= maxCommand && !strings.Contains(t.Command, "\x00"), "Command must be shorter than 4097 characters")
	p = append(p, nameProblems(t.Name)...)
	if err := p.err(); err != nil {
		return t, err
	}
	var err error
	t.Metadata, err = body.Metadata.fresh()
	return t, err
}

func cancelTask(r *request) (response, error) {
	t, a, err := r.task(auth.AppManage)
	if err != nil {
		return response{}, err
	}
	ctx := r.auditApp("audit.app.task.cancel", a, map[string]any{"task_guid": t.GUID})
	if t, err = r.store().CancelTask(ctx, state.Target{GUID: t.GUID, At: r.now}); err != nil {
		return response{}, err
	}
	return response{status: http.StatusAccepted, body: presentTask(r, t)}, nil
}
