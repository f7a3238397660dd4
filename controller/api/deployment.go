package api

import (
	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (a *API) deploymentRoutes() []route {
	return []route{
		{"POST", "/v3/deployments", auth.AppManage, "Replace an app's instances without a gap.", createDeployment},
		{"GET", "/v3/deployments", auth.AppRead, "List deployments.", listDeployments},
		{"GET", "/v3/deployments/{guid}", auth.AppRead, "Show a deployment.", getDeployment},
		{"PATCH", "/v3/deployments/{guid}", auth.AppWrite, "Change a deployment's metadata.", updateDeployment},
		{"POST", "/v3/deployments/{guid}/actions/cancel", auth.AppManage, "Go back to the previous droplet.", cancelDeployment},
		{"POST", "/v3/deployments/{guid}/actions/continue", auth.AppManage, "Let a paused canary deployment go on.", continueDeployment},
	}
}

type deploymentJSON struct {
	head
	Status          deploymentStatusJSON  `json:"status"`
	Strategy        string                `json:"strategy"`
	Options         deploymentOptionsJSON `json:"options"`
	Droplet         *dropletRef           `json:"droplet"`
	PreviousDroplet *dropletRef           `json:"previous_droplet"`
	NewProcesses    []newProcessJSON      `json:"new_processes"`
	Revision        *revisionRef          `json:"revision,omitempty"`
	Relationships   map[string]any        `json:"relationships"`
	Metadata        metadata              `json:"metadata"`
	Links           links                 `json:"links"`
}

type deploymentStatusJSON struct {
	Value   string            `json:"value"`
	Reason  string            `json:"reason"`
	Details map[string]any    `json:"details"`
	Canary  *canaryStatusJSON `json:"canary,omitempty"`
}

type canaryStatusJSON struct {
	Steps struct {
		Current int `json:"current"`
		Total   int `json:"total"`
	} `json:"steps"`
}

type deploymentOptionsJSON struct {
	MaxInFlight int                `json:"max_in_flight"`
	Canary      *canaryOptionsJSON `json:"canary,omitempty"`
}

type canaryOptionsJSON struct {
	Steps []canaryStepJSON `json:"steps"`
}

type canaryStepJSON struct {
	InstanceWeight int `json:"instance_weight"`
}

type newProcessJSON struct {
	GUID string `json:"guid"`
	Type string `json:"type"`
}

type revisionRef struct {
	GUID    string `json:"guid"`
	Version int    `json:"version"`
}

func presentDeployment(r *request, d cf.Deployment) any {
	self := r.link("/v3/deployments/", d.GUID)
	out := deploymentJSON{
		head: headOf(d.Resource), Strategy: d.Strategy, Options: deploymentOptionsJSON{MaxInFlight: d.MaxInFlight},
		Status: deploymentStatusJSON{Value: d.Status, Reason: d.Reason, Details: map[string]any{
			"last_status_change": stamp(d.StatusChangedAt), "last_successful_healthcheck": nil,
		}},
		NewProcesses:  []newProcessJSON{{d.ProcessGUID, cf.ProcessWeb}},
		Relationships: map[string]any{"app": toOne(d.AppGUID)}, Metadata: metadataOf(d.Metadata),
		Links: links{"self": {Href: self}, "app": {Href: r.link("/v3/apps/", d.AppGUID)}},
	}
	if !d.LastHealthyAt.IsZero() {
		out.Status.Details["last_successful_healthcheck"] = stamp(d.LastHealthyAt)
	}
	if d.Error != "" {
		out.Status.Details["error"] = d.Error
	}
	if d.DropletGUID != "" {
		out.Droplet = &dropletRef{d.DropletGUID}
	}
	if d.PreviousDropletGUID != "" {
		out.PreviousDroplet = &dropletRef{d.PreviousDropletGUID}
	}
	if d.RevisionGUID != "" {
		out.Revision = &revisionRef{d.RevisionGUID, d.RevisionVersion}
	}
	if d.Strategy == cf.StrategyCanary {
		out.Options.Canary = &canaryOptionsJSON{Steps: []canaryStepJSON{}}
		for _, w := range d.CanarySteps {
			out.Options.Canary.Steps = append(out.Options.Canary.Steps, canaryStepJSON{w})
		}
		total := max(1, len(d.CanarySteps))
		out.Status.Canary = &canaryStatusJSON{}
		out.Status.Canary.Steps.Current, out.Status.Canary.Steps.Total = min(d.CanaryStep, total), total
	}
	if d.Status == cf.DeploymentActive && d.Reason != cf.ReasonCanceling {
		out.Links["cancel"] = link{self + "/actions/cancel", "POST"}
		if d.Reason == cf.ReasonPaused {
			out.Links["continue"] = link{self + "/actions/continue", "POST"}
		}
	}
	return out
}

func deploymentApp(d *cf.Deployment) string { return d.AppGUID }

func listDeployments(r *request) (response, error) {
	status := func(d *cf.Deployment) string { return d.Status }
	return listing[cf.Deployment]{
		resource: func(d *cf.Deployment) cf.Resource { return d.Resource },
		metadata: func(d *cf.Deployment) cf.Metadata { return d.Metadata },
		filters: map[string]func(*cf.Deployment) string{
			"app_guids": deploymentApp, "states": status, "status_values": status,
			"status_reasons": func(d *cf.Deployment) string { return d.Reason },
		},
		present: presentDeployment,
	}.serve(r, readable(r, ofApps(r, r.view.DeploymentsOfApp, r.view.Deployments), deploymentApp))
}

// deployment is the path's deployment and its app, if the user may do action.
func (r *request) deployment(action auth.Action) (cf.Deployment, cf.App, error) {
	d, found := r.view.Deployment(r.guid())
	if !found {
		return d, cf.App{}, cf.ErrNotFound.With("Deployment not found")
	}
	a, err := r.appNamed(d.AppGUID, action, "Deployment")
	return d, a, err
}

func getDeployment(r *request) (response, error) {
	d, _, err := r.deployment(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	return ok(presentDeployment(r, d))
}

func updateDeployment(r *request) (response, error) {
	d, _, err := r.deployment(auth.AppWrite)
	if err != nil {
		return response{}, err
	}
	meta, err := r.metadataOnly()
	if err != nil {
		return response{}, err
	}
	d, err = r.store().ProgressDeployment(r.Context(), state.DeploymentProgress{GUID: d.GUID, Metadata: &meta, At: r.now})
	if err != nil {
		return response{}, err
	}
	return ok(presentDeployment(r, d))
}

func cancelDeployment(r *request) (response, error) {
	d, a, err := r.deployment(auth.AppManage)
	if err != nil {
		return response{}, err
	}
	ctx := r.auditApp("audit.app.deployment.cancel", a, map[string]any{"deployment_guid": d.GUID})
	if d, err = r.store().CancelDeployment(ctx, state.Target{GUID: d.GUID, At: r.now}); err != nil {
		return response{}, err
	}
	r.log(a.GUID, "Canceling deployment %s", d.GUID)
	return ok(presentDeployment(r, d))
}

func continueDeployment(r *request) (response, error) {
	d, a, err := r.deployment(auth.AppManage)
	if err != nil {
		return response{}, err
	}
	ctx := r.auditApp("audit.app.deployment.continue", a, map[string]any{"deployment_guid": d.GUID})
	if d, err = r.store().ContinueDeployment(ctx, state.Target{GUID: d.GUID, At: r.now}); err != nil {
		return response{}, err
	}
	r.log(a.GUID, "Continuing deployment %s", d.GUID)
	return ok(presentDeployment(r, d))
}

// deploymentBody is the body of a new deployment.
type deploymentBody struct {
	Droplet  *dropletRef `json:"droplet"`
	Revision *struct {
		GUID    string `json:"guid"`
		Version *int   `json:"version"`
	} `json:"revision"`
	Strategy *string `json:"strategy"`
	Options  *struct {
		MaxInFlight *int `json:"max_in_flight"`
		Canary      *struct {
			Steps []struct {
				InstanceWeight int `json:"instance_weight"`
			} `json:"steps"`
		} `json:"canary"`
		WebInstances *int   `json:"web_instances"`
		MemoryMB     *int   `json:"memory_in_mb"`
		DiskMB       *int   `json:"disk_in_mb"`
		LogRate      *int64 `json:"log_rate_limit_in_bytes_per_second"`
	} `json:"options"`
	Relationships appRelation   `json:"relationships"`
	Metadata      *metadataBody `json:"metadata"`
}

// size is what the options change of the web process; nil changes nothing.
func (b deploymentBody) size() *scaleBody {
	o := b.Options
	if o == nil || o.WebInstances == nil && o.MemoryMB == nil && o.DiskMB == nil && o.LogRate == nil {
		return nil
	}
	return &scaleBody{o.WebInstances, o.MemoryMB, o.DiskMB, o.LogRate}
}

func (b deploymentBody) problems(r *request) problems {
	var p problems
	strategy := deref(b.Strategy, cf.StrategyRolling)
	p.check(strategy == cf.StrategyRolling || strategy == cf.StrategyCanary, "Strategy '"+cut(strategy)+"' is not a supported deployment strategy")
	p.check(b.Droplet == nil || b.Revision == nil, "Cannot set both fields 'droplet' and 'revision'")
	if size := b.size(); size != nil {
		p = append(p, size.problems(r)...)
	}
	o := b.Options
	if o == nil {
		return p
	}
	p.check(o.MaxInFlight == nil || *o.MaxInFlight > 0, "Max in flight must be an integer greater than 0")
	if o.Canary == nil {
		return p
	}
	p.check(strategy == cf.StrategyCanary, "Canary options are only valid for Canary deployments")
	last := 0
	for _, s := range o.Canary.Steps {
		p.check(s.InstanceWeight > 0 && s.InstanceWeight <= 100, "Canary steps instance_weight must be an Integer between 1-100 (inclusive)")
		p.check(s.InstanceWeight > last, "Canary steps instance_weight must be sorted in ascending order")
		last = s.InstanceWeight
	}
	return p
}

func createDeployment(r *request) (response, error) {
	var body deploymentBody
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	if err := body.problems(r).err(); err != nil {
		return response{}, err
	}
	unusable := cf.ErrUnprocessable.With("Unable to use app. Ensure that the app exists and you have access to it.")
	a, err := r.appNamed(body.Relationships.App.guid(), auth.AppManage, "App")
	if err != nil && cf.ErrNotFound.Is(err) {
		return response{}, unusable
	}
	if err != nil {
		return response{}, err
	}
	c, err := r.newDeployment(a, body)
	if err != nil {
		return response{}, err
	}
	ctx := r.auditApp("audit.app.deployment.create", a, map[string]any{
		"deployment_guid": c.Deployment.GUID, "droplet_guid": c.Deployment.DropletGUID, "strategy": c.Deployment.Strategy,
	})
	d, err := r.store().CreateDeployment(ctx, c)
	if err != nil {
		return response{}, err
	}
	r.log(a.GUID, "Creating deployment for app with guid %s", a.GUID)
	return created(presentDeployment(r, d))
}

func (r *request) newDeployment(a cf.App, body deploymentBody) (state.DeploymentCreation, error) {
	d := cf.Deployment{
		Resource: r.resource(), AppGUID: a.GUID, Strategy: deref(body.Strategy, cf.StrategyRolling), MaxInFlight: 1,
		NewVersion: r.api.NewGUID(),
	}
	var err error
	if d.Metadata, err = body.Metadata.fresh(); err != nil {
		return state.DeploymentCreation{}, err
	}
	if o := body.Options; o != nil {
		d.MaxInFlight = deref(o.MaxInFlight, 1)
		if o.Canary != nil {
			for _, s := range o.Canary.Steps {
				d.CanarySteps = append(d.CanarySteps, s.InstanceWeight)
			}
		}
	}
	c := state.DeploymentCreation{RevisionGUID: r.api.NewGUID()}
	d.DropletGUID = a.DropletGUID
	if body.Droplet != nil {
		d.DropletGUID = body.Droplet.GUID
	}
	if body.Revision != nil {
		c.RollbackTo = body.Revision.GUID
		revision, _ := r.view.Revision(c.RollbackTo)
		d.DropletGUID = revision.DropletGUID
	}
	if size := body.size(); size != nil {
		c.Web = &state.ProcessUpdate{Instances: size.Instances, MemoryMB: size.MemoryMB, DiskMB: size.DiskMB, LogRateBytes: size.LogRate}
	}
	droplet, _ := r.view.Droplet(d.DropletGUID)
	c.Processes, c.SidecarGUIDs = r.namesFor(droplet)
	c.Deployment = d
	return c, nil
}
