package api

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/stackato/stackato/controller/api/manifest"
	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (a *API) spaceManifestRoutes() []route {
	return []route{
		{"POST", "/v3/spaces/{guid}/actions/apply_manifest", auth.AppWrite, "Make apps what a manifest says (job).", applyManifest},
		{"POST", "/v3/spaces/{guid}/manifest_diff", auth.AppRead, "Say what a manifest would change.", diffManifest},
	}
}

// manifestBody reads the request's YAML.
func (r *request) manifestBody() ([]byte, error) {
	data, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, cf.ErrTooLarge.With("The manifest is over the limit of %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return nil, cf.ErrMessageParse
	}
	return data, nil
}

// manifestError shows what is wrong with a manifest, each problem by itself.
func manifestError(err error) error {
	var all manifest.FieldErrors
	if !errors.As(err, &all) {
		return cf.ErrMessageParse.With("Request invalid due to parse error: %v", err)
	}
	var out manyErrors
	for _, p := range all {
		out = append(out, cf.ErrUnprocessable.With("%s", p))
	}
	return out
}

func applyManifest(r *request) (response, error) {
	if err := r.inSpace(r.guid(), auth.SpaceRead, auth.AppWrite, "Space"); err != nil {
		return response{}, err
	}
	data, err := r.manifestBody()
	if err != nil {
		return response{}, err
	}
	m, err := manifest.Parse(data)
	if err != nil {
		return response{}, manifestError(err)
	}
	space, _ := r.view.Space(r.guid())
	batch := &state.Batch{}
	var done []func()
	for _, want := range m.Applications {
		c := &manifestChange{r: r, space: space, batch: batch, want: want}
		if err := c.plan(); err != nil {
			return response{}, forApp(want.Name, err)
		}
		done = append(done, c.said)
	}
	if err := r.store().Apply(r.Context(), batch); err != nil {
		return response{}, err
	}
	for _, say := range done {
		say()
	}
	return r.finished("space.apply_manifest", space.GUID, nil)
}

// forApp says in a problem with a manifest which app it is about.
func forApp(name string, err error) error {
	var e *cf.Error
	if !errors.As(err, &e) || e.Status != http.StatusUnprocessableEntity {
		return err
	}
	return e.With("For application '%s': %s", cut(name), e.Detail)
}

// manifestChange plans the commands that make one app what a manifest says.
type manifestChange struct {
	r     *request
	space cf.Space
	batch *state.Batch
	want  manifest.Application

	app cf.App
	web cf.Process // of a new app
	new bool
	n   int // rows so far
}

// resource is the beginning of a row; each is later than the one before, so
// that lists are in the manifest's order.
func (c *manifestChange) resource() cf.Resource {
	out := c.r.resource()
	c.n++
	out.CreatedAt = out.CreatedAt.Add(time.Duration(c.n) * time.Microsecond)
	out.UpdatedAt = out.CreatedAt
	return out
}

func (c *manifestChange) plan() error {
	if c.want.Docker {
		return errDocker
	}
	var found bool
	if c.app, found = c.r.view.AppByName(c.space.GUID, c.want.Name); !found {
		created := c.r.newApp(c.space.GUID, c.want.Name)
		c.app, c.web, c.new = created.App, created.Web, true
		c.batch.CreateApp(created)
		c.batch.RecordEvent(c.r.event("audit.app.create", appParty(c.app), c.space.GUID, nil))
	}
	for _, step := range []func() error{c.planApp, c.planProcesses, c.planSidecars, c.planRoutes, c.planServices} {
		if err := step(); err != nil {
			return err
		}
	}
	c.batch.RecordEvent(c.r.event("audit.app.apply_manifest", appParty(c.app), c.space.GUID, nil))
	return nil
}

// said tells the app's log what was done.
func (c *manifestChange) said() {
	if c.new {
		c.r.log(c.app.GUID, "Created app with guid %s", c.app.GUID)
	}
	c.r.log(c.app.GUID, "Applied manifest to app with guid %s", c.app.GUID)
}

func (c *manifestChange) planApp() error {
	want := c.want
	u := state.AppUpdate{GUID: c.app.GUID, Buildpacks: want.Buildpacks, PlacementZone: want.PlacementZone, At: c.r.now}
	var p problems
	if want.Buildpacks != nil {
		p = append(p, c.r.buildpackProblems(*want.Buildpacks)...)
	}
	if want.Stack != nil {
		p = append(p, c.r.stackProblems(*want.Stack)...)
	}
	if want.PlacementZone != nil {
		p = append(p, zoneProblems(*want.PlacementZone)...)
	}
	if err := p.err(); err != nil {
		return err
	}
	u.Stack = want.Stack
	env := envBody{}
	for name, value := range want.Env {
		env[name] = &value
	}
	var err error
	if u.Env, err = c.r.sealEnv(c.app, env); err != nil {
		return err
	}
	if u.Metadata, err = (&metadataBody{want.Labels, want.Annotations}).patch(); err != nil {
		return err
	}
	for _, f := range appFeatures {
		if on, said := want.Features[f.name]; said {
			f.set(&u, on)
		}
	}
	c.batch.UpdateApp(u)
	return nil
}

func (c *manifestChange) planProcesses() error {
	for _, want := range c.want.Processes {
		p, found := c.r.view.ProcessByType(c.app.GUID, want.Type)
		switch {
		case found:
		case want.Type == cf.ProcessWeb: // of a new app
			p = c.web
		default:
			p = c.r.newProcess(c.app.GUID, want.Type)
			c.batch.CreateProcess(p)
		}
		u := state.ProcessUpdate{
			GUID: p.GUID, Command: want.Command, Instances: want.Instances, MemoryMB: want.MemoryMB, DiskMB: want.DiskMB,
			LogRateBytes: want.LogRateBytes, Version: c.r.api.NewGUID(), Later: true, At: c.r.now,
		}
		var wrong, more problems
		u.Health, wrong = checkOf(want.Health, p.Health, "Health check")
		u.Readiness, more = checkOf(want.Readiness, p.Readiness, "Readiness health check")
		wrong = append(wrong, more...)
		if limit := c.r.api.Limits.MaxDiskMB; want.DiskMB != nil {
			wrong.check(*want.DiskMB <= limit, tooMuchDisk(limit)+" (field disk_quota)")
		}
		if err := wrong.err(); err != nil {
			return err
		}
		c.batch.UpdateProcess(u)
	}
	return nil
}

// checkOf is a check as the manifest wants it; nil if it says nothing.
func checkOf(want manifest.Check, is cf.HealthCheck, field string) (*cf.HealthCheck, problems) {
	if !want.Set() {
		return nil, nil
	}
	b := &checkBody{Type: want.Type}
	b.Data.Endpoint, b.Data.Timeout = want.Endpoint, want.Timeout
	b.Data.InvocationTimeout, b.Data.Interval = want.InvocationTimeout, want.Interval
	return b.apply(is, field)
}

func (c *manifestChange) planSidecars() error {
	old := map[string]cf.Sidecar{}
	for _, s := range c.r.view.SidecarsOfApp(c.app.GUID) {
		old[s.Name] = s
	}
	for _, want := range c.want.Sidecars {
		if s, found := old[want.Name]; found {
			c.batch.UpdateSidecar(state.SidecarUpdate{
				GUID: s.GUID, Command: want.Command, ProcessTypes: want.ProcessTypes, MemoryMB: want.MemoryMB, At: c.r.now,
			})
			continue
		}
		var p problems
		p.check(want.Command != nil, "Sidecar '"+cut(want.Name)+"': Command can't be blank (field sidecars.command)")
		p.check(want.ProcessTypes != nil, "Sidecar '"+cut(want.Name)+"': Process types must have at least 1 process_type (field sidecars.process_types)")
		if err := p.err(); err != nil {
			return err
		}
		c.batch.CreateSidecar(cf.Sidecar{
			Resource: c.resource(), AppGUID: c.app.GUID, Name: want.Name, Command: *want.Command,
			ProcessTypes: *want.ProcessTypes, MemoryMB: deref(want.MemoryMB, 0), Origin: cf.SidecarUser,
		})
	}
	return nil
}

func (c *manifestChange) planServices() error {
	bound := map[string]bool{}
	for _, b := range c.r.view.ServiceBindingsOfApp(c.app.GUID) {
		bound[b.ServiceInstanceGUID] = true
	}
	for _, want := range c.want.Services {
		i, found := c.r.view.ServiceInstanceByName(c.space.GUID, want.Name)
		if !found {
			return cf.ErrUnprocessable.With("Service instance '%s' not found (field services)", cut(want.Name))
		}
		if want.HasParameters {
			return cf.ErrUnprocessable.With("Binding parameters are not supported for user-provided service instances (field services.parameters)")
		}
		if bound[i.GUID] {
			continue
		}
		bound[i.GUID] = true
		c.batch.CreateServiceBinding(cf.ServiceBinding{
			Resource: c.resource(), Type: cf.BindingApp, Name: want.BindingName, AppGUID: c.app.GUID, ServiceInstanceGUID: i.GUID,
		})
	}
	return nil
}
