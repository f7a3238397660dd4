package api

import (
	"fmt"
	"strings"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/instance"
)

func (a *API) processRoutes() []route {
	return []route{
		{"GET", "/v3/processes", auth.AppRead, "List processes; embed=process_instances adds their instances.", listProcesses},
		{"GET", "/v3/processes/{guid}", auth.AppRead, "Show a process.", getProcess},
		{"PATCH", "/v3/processes/{guid}", auth.AppWrite, "Change a process: command, checks.", updateProcess},
		{"POST", "/v3/processes/{guid}/actions/scale", auth.AppManage, "Scale a process.", scaleProcess},
		{"GET", "/v3/processes/{guid}/stats", auth.AppRead, "Show the instances of a process.", getProcessStats},
		{"GET", "/v3/processes/{guid}/process_instances", auth.AppRead, "List the instances of a process, without figures.", listProcessInstances},
		{"DELETE", "/v3/processes/{guid}/instances/{index}", auth.AppManage, "Restart an instance.", restartInstance},
		{"GET", "/v3/apps/{guid}/processes", auth.AppRead, "List the processes of an app.", listProcesses},
		{"GET", "/v3/apps/{guid}/processes/{type}", auth.AppRead, "Show a process of an app.", getProcess},
		{"PATCH", "/v3/apps/{guid}/processes/{type}", auth.AppWrite, "Change a process of an app.", updateProcess},
		{"POST", "/v3/apps/{guid}/processes/{type}/actions/scale", auth.AppManage, "Scale a process of an app.", scaleProcess},
		{"GET", "/v3/apps/{guid}/processes/{type}/stats", auth.AppRead, "Show the instances of a process of an app.", getProcessStats},
		{"DELETE", "/v3/apps/{guid}/processes/{type}/instances/{index}", auth.AppManage, "Restart an instance of an app.", restartInstance},
	}
}

type checkJSON struct {
	Type string        `json:"type"`
	Data checkDataJSON `json:"data"`
}

type checkDataJSON struct {
	Timeout           *int    `json:"timeout"`
	InvocationTimeout *int    `json:"invocation_timeout"`
	Interval          *int    `json:"interval"`
	Endpoint          *string `json:"endpoint,omitempty"`
}

func presentCheck(c cf.HealthCheck) checkJSON {
	return checkJSON{c.Type, checkDataJSON{orNullNumber(c.Timeout), orNullNumber(c.InvocationTimeout), orNullNumber(c.Interval), orNull(c.Endpoint)}}
}

func orNullNumber(n int) *int {
	if n == 0 {
		return nil
	}
	return &n
}

type processJSON struct {
	head
	Version       string    `json:"version"`
	Type          string    `json:"type"`
	Command       *string   `json:"command"`
	Instances     int       `json:"instances"`
	MemoryMB      int       `json:"memory_in_mb"`
	DiskMB        int       `json:"disk_in_mb"`
	LogRate       int64     `json:"log_rate_limit_in_bytes_per_second"`
	Health        checkJSON `json:"health_check"`
	Readiness     checkJSON `json:"readiness_health_check"`
	Relationships struct {
		App      relation  `json:"app"`
		Revision *relation `json:"revision"`
	} `json:"relationships"`
	Metadata         metadata             `json:"metadata"`
	Links            links                `json:"links"`
	ProcessInstances *[]processIndexState `json:"process_instances,omitempty"`
}

// hidden stands in lists for what only single resources show.
const hidden = "[PRIVATE DATA HIDDEN IN LISTS]"

// presentProcess shows the command that runs: the developer's, or the
// droplet's. A nil command is hidden from who may not see it.
func presentProcess(r *request, p cf.Process) processJSON {
	a, _ := r.view.App(p.AppGUID)
	self := r.link("/v3/processes/", p.GUID)
	out := processJSON{
		head: headOf(p.Resource), Version: p.Version, Type: p.Type,
		Instances: p.Instances, MemoryMB: p.MemoryMB, DiskMB: p.DiskMB, LogRate: p.LogRateBytes,
		Health: presentCheck(p.Health), Readiness: presentCheck(p.Readiness), Metadata: metadataOf(p.Metadata),
		Links: links{
			"self":  {Href: self},
			"scale": {Href: self + "/actions/scale", Method: "POST"},
			"app":   {Href: r.link("/v3/apps/", p.AppGUID)},
			"space": {Href: r.link("/v3/spaces/", a.SpaceGUID)},
			"stats": {Href: self + "/stats"},
		},
	}
	out.Relationships.App = toOne(p.AppGUID)
	if pv, found := r.view.ProcessVersion(p.GUID, p.Version); found && pv.RevisionGUID != "" {
		revision := toOne(pv.RevisionGUID)
		out.Relationships.Revision = &revision
	}
	command := p.Command
	if d, found := r.view.Droplet(a.DropletGUID); found && command == "" {
		command = d.ProcessTypes[p.Type]
	}
	out.Command = orNull(command)
	return out
}

func listProcesses(r *request) (response, error) {
	rows := ofApps(r, r.view.ProcessesOfApp, r.view.Processes)
	if r.guid() != "" {
		if _, err := r.app(auth.AppRead); err != nil {
			return response{}, err
		}
	}
	embed := r.query.Get("embed")
	if embed != "" && embed != "process_instances" {
		return response{}, cf.ErrBadQuery.With("The query parameter is invalid: Invalid embedded resource: '%s'. Valid embedded resources are: 'process_instances'", embed)
	}
	app := func(p *cf.Process) string { return p.AppGUID }
	return listing[cf.Process]{
		resource: func(p *cf.Process) cf.Resource { return p.Resource },
		metadata: func(p *cf.Process) cf.Metadata { return p.Metadata },
		filters: appFilters(r, app, map[string]func(*cf.Process) string{
			"types": func(p *cf.Process) string { return p.Type },
		}),
		params: []string{"embed"},
		present: func(r *request, p cf.Process) any {
			out := presentProcess(r, p)
			if out.Command != nil {
				*out.Command = hidden
			}
			if embed != "" {
				states := indexStates(r, p)
				out.ProcessInstances = &states
			}
			return out
		},
	}.serve(r, readable(r, rows, app))
}

// process is the process that the path names, by GUID or by app and type.
func (r *request) process(action auth.Action) (cf.Process, cf.App, error) {
	missing := cf.ErrNotFound.With("Process not found")
	if typ := r.PathValue("type"); typ != "" {
		a, err := r.app(action)
		if err != nil {
			return cf.Process{}, a, err
		}
		p, found := r.view.ProcessByType(a.GUID, typ)
		if !found {
			return p, a, missing
		}
		return p, a, nil
	}
	p, found := r.view.Process(r.guid())
	if !found {
		return p, cf.App{}, missing
	}
	a, err := r.appNamed(p.AppGUID, action, "Process")
	return p, a, err
}

func getProcess(r *request) (response, error) {
	p, _, err := r.process(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	return ok(presentProcess(r, p))
}

// newProcess is a process with the defaults of the cluster.
func (r *request) newProcess(appGUID, typ string) cf.Process {
	p := cf.Process{Resource: r.resource(), AppGUID: appGUID, Type: typ, ProcessSettings: r.newSettings()}
	if typ == cf.ProcessWeb {
		p.Instances = 1
	} else {
		p.Health.Type = instance.CheckProcess
	}
	return p
}

func (r *request) newSettings() cf.ProcessSettings {
	l := r.api.Limits
	return cf.ProcessSettings{
		MemoryMB: l.AppMemoryMB, DiskMB: l.AppDiskMB, LogRateBytes: -1,
		Health: cf.HealthCheck{Type: instance.CheckPort}, Readiness: cf.HealthCheck{Type: instance.CheckProcess},
	}
}

// checkBody is a health or readiness check of a body.
type checkBody struct {
	Type *string `json:"type"`
	Data struct {
		Timeout           *int    `json:"timeout"`
		InvocationTimeout *int    `json:"invocation_timeout"`
		Interval          *int    `json:"interval"`
		Endpoint          *string `json:"endpoint"`
	} `json:"data"`
}

// apply changes a check; what is wrong is said of field.
func (b *checkBody) apply(c cf.HealthCheck, field string) (*cf.HealthCheck, problems) {
	if b == nil {
		return nil, nil
	}
	if b.Type != nil && *b.Type != c.Type {
		c.Type, c.Endpoint = *b.Type, ""
	}
	c.Timeout = deref(b.Data.Timeout, c.Timeout)
	c.InvocationTimeout = deref(b.Data.InvocationTimeout, c.InvocationTimeout)
	c.Interval = deref(b.Data.Interval, c.Interval)
	c.Endpoint = deref(b.Data.Endpoint, c.Endpoint)
	if c.Type == instance.CheckHTTP && c.Endpoint == "" {
		c.Endpoint = "/"
	}
	if c.Type != instance.CheckHTTP {
		c.Endpoint = ""
	}
	return &c, checkProblems(c, field)
}

// maxCheckTime bounds the numbers of a check, in seconds.
const maxCheckTime = 3600

func checkProblems(c cf.HealthCheck, field string) problems {
	var p problems
	p.check(c.Type == instance.CheckPort || c.Type == instance.CheckHTTP || c.Type == instance.CheckProcess,
		field+" type must be \"port\", \"process\", or \"http\"")
	for _, n := range []struct {
		name  string
		value int
	}{{"timeout", c.Timeout}, {"invocation timeout", c.InvocationTimeout}, {"interval", c.Interval}} {
		p.check(n.value >= 0 && n.value <= maxCheckTime, field+" "+n.name+" must be between 1 and 3600 seconds")
	}
	p.check(c.Endpoint == "" || strings.HasPrefix(c.Endpoint, "/") && len(c.Endpoint) <= 2048 && !strings.ContainsAny(c.Endpoint, " \r\n\t\x00"),
		field+" endpoint must be a valid URI path")
	return p
}

// maxCommand bounds a start command, in bytes.
const maxCommand = 4096

func updateProcess(r *request) (response, error) {
	p, a, err := r.process(auth.AppWrite)
	if err != nil {
		return response{}, err
	}
	var body struct {
		Command   optional[string] `json:"command"`
		Health    *checkBody       `json:"health_check"`
		Readiness *checkBody       `json:"readiness_health_check"`
		Metadata  *metadataBody    `json:"metadata"`
	}
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	u := state.ProcessUpdate{GUID: p.GUID, Version: r.api.NewGUID(), At: r.now}
	if body.Command.set {
		u.Command = &body.Command.value // null is the droplet's
	}
	var wrong, more problems
	u.Health, wrong = body.Health.apply(p.Health, "Health check")
	u.Readiness, more = body.Readiness.apply(p.Readiness, "Readiness health check")
	wrong = append(wrong, more...)
	wrong.check(u.Command == nil || len(*u.Command) <= maxCommand && !strings.Contains(*u.Command, "\x00"), "Command must be between 1 and 4096 characters")
	if err := wrong.err(); err != nil {
		return response{}, err
	}
	if u.Metadata, err = body.Metadata.patch(); err != nil {
		return response{}, err
	}
	ctx := r.auditApp("audit.app.process.update", a, map[string]any{"process_type": p.Type})
	if p, err = r.store().UpdateProcess(ctx, u); err != nil {
		return response{}, err
	}
	r.log(a.GUID, "Updating process: \"%s\"", p.Type)
	return ok(presentProcess(r, p))
}

func scaleProcess(r *request) (response, error) {
	p, a, err := r.process(auth.AppManage)
	if err != nil {
		return response{}, err
	}
	if err := r.requireFlag("app_scaling"); err != nil {
		return response{}, err
	}
	var body scaleBody
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	if err := body.problems(r).err(); err != nil {
		return response{}, err
	}
	ctx := r.auditApp("audit.app.process.scale", a, map[string]any{"process_type": p.Type, "request": body})
	p, err = r.store().UpdateProcess(ctx, state.ProcessUpdate{
		GUID: p.GUID, Instances: body.Instances, MemoryMB: body.MemoryMB, DiskMB: body.DiskMB, LogRateBytes: body.LogRate,
		Version: r.api.NewGUID(), At: r.now,
	})
	if err != nil {
		return response{}, err
	}
	r.log(a.GUID, "Scaling process: \"%s\"", p.Type)
	return response{status: 202, body: presentProcess(r, p)}, nil
}

// scaleBody is the size of a process.
type scaleBody struct {
	Instances *int   `json:"instances,omitempty"`
	MemoryMB  *int   `json:"memory_in_mb,omitempty"`
	DiskMB    *int   `json:"disk_in_mb,omitempty"`
	LogRate   *int64 `json:"log_rate_limit_in_bytes_per_second,omitempty"`
}

const (
	maxInstances = 10_000
	maxMemoryMB  = 4 << 20
)

func (b scaleBody) problems(r *request) problems {
	var p problems
	if b.Instances != nil {
		p.check(*b.Instances >= 0 && *b.Instances <= maxInstances, "Instances must be between 0 and 10000")
	}
	if b.MemoryMB != nil {
		p.check(*b.MemoryMB > 0, "Memory in mb must be greater than 0")
		p.check(*b.MemoryMB <= maxMemoryMB, fmt.Sprintf("Memory in mb must be less than or equal to %d", maxMemoryMB))
	}
	if b.DiskMB != nil {
		p.check(*b.DiskMB > 0, "Disk in mb must be greater than 0")
		p.check(*b.DiskMB <= r.api.Limits.MaxDiskMB, tooMuchDisk(r.api.Limits.MaxDiskMB))
	}
	if b.LogRate != nil {
		p.check(*b.LogRate >= -1, "Log rate limit in bytes per second must be greater than or equal to -1")
	}
	return p
}
