package state

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

var deployments = newTable[cf.Deployment]("cf_deployments", byGUID(), by("app", "AppGUID"),
	by("status", "Status"), by("app_status", "AppGUID", "Status"))

// Deployment returns one deployment.
func (v *View) Deployment(guid string) (cf.Deployment, bool) { return deployments.get(v, "id", guid) }

// Deployments returns all deployments, in no useful order.
func (v *View) Deployments() []cf.Deployment { return deployments.list(v, "id") }

// DeploymentsOfApp returns the deployments of an app, the oldest first.
func (v *View) DeploymentsOfApp(appGUID string) []cf.Deployment { return deploymentsOfApp(v, appGUID) }

// ActiveDeployments returns the deployments that are to be worked on.
func (v *View) ActiveDeployments() []cf.Deployment {
	return deployments.list(v, "status", cf.DeploymentActive)
}

// ActiveDeployment returns the deployment that an app is in; there is at most
// one.
func (v *View) ActiveDeployment(appGUID string) (cf.Deployment, bool) {
	return activeDeployment(v, appGUID)
}

func activeDeployment(r reader, appGUID string) (cf.Deployment, bool) {
	return deployments.get(r, "app_status", appGUID, cf.DeploymentActive)
}

func deploymentsOfApp(r reader, appGUID string) []cf.Deployment {
	out := deployments.list(r, "app", appGUID)
	slices.SortFunc(out, func(a, b cf.Deployment) int { return older(a.Resource, b.Resource) })
	return out
}

// DeploymentCreation starts a deployment.
type DeploymentCreation struct {
	// Deployment has GUID, times, AppGUID, Strategy, MaxInFlight,
	// CanarySteps, NewVersion and metadata; DropletGUID, if "", is the
	// revision's or the app's current one. The rest is filled in.
	Deployment cf.Deployment `json:"deployment"`
	// RollbackTo, if not "", is the revision that is deployed.
	RollbackTo string `json:"rollback_to,omitempty"`
	// Web changes the web process, if not nil.
	Web *ProcessUpdate `json:"web,omitempty"`
	// RevisionGUID is for the revision, if a new one is due.
	RevisionGUID string            `json:"revision_guid"`
	Processes    NewProcesses      `json:"processes"`
	SidecarGUIDs map[string]string `json:"sidecar_guids,omitempty"`
}

// deploymentsKept is how many deployments of an app are remembered.
const deploymentsKept = 50

var createDeployment = newAudited("cf.deployment.create", 1, func(tx *Tx, in DeploymentCreation) (cf.Deployment, error) {
	d := in.Deployment
	a, ok := apps.get(tx, "id", d.AppGUID)
	if !ok {
		return d, cf.ErrUnprocessable.With("Unable to use app. Ensure that the app exists and you have access to it.")
	}
	d.PreviousDropletGUID = a.DropletGUID
	if old, ok := supersede(tx, a.GUID, d.CreatedAt); ok {
		d.PreviousDropletGUID = old.PreviousDropletGUID
	}
	rollback, err := in.rollBack(tx, &a, &d)
	if err != nil {
		return d, err
	}
	if d.DropletGUID == "" {
		d.DropletGUID = a.DropletGUID
	}
	if d.DropletGUID == "" {
		return d, cf.ErrUnprocessable.With("Invalid droplet. Please specify a droplet in the request or set a current droplet for the app.")
	}
	assign := DropletAssignment{a.GUID, d.DropletGUID, in.Processes, in.SidecarGUIDs, d.CreatedAt}
	if err := assign.apply(tx, &a); err != nil {
		return d, err
	}
	if in.Web != nil {
		if err := in.updateWeb(tx, a); err != nil {
			return d, err
		}
	}
	nextRevision(tx, &a, in.RevisionGUID, rollback, d.CreatedAt)
	if !a.RevisionsOff {
		d.RevisionGUID, d.RevisionVersion = a.RevisionGUID, a.RevisionVersion
	}
	if err := begin(tx, a, &d); err != nil {
		return d, err
	}
	forgetDeployments(tx, a.GUID)
	return d, nil
})

// CreateDeployment begins a deployment, which supersedes an active one, and
// returns it. An app that is stopped is started at once and the deployment is
// over.
func (s *Store) CreateDeployment(ctx context.Context, in DeploymentCreation) (cf.Deployment, error) {
	return createDeployment.do(ctx, s, in)
}

// rollBack makes the app what the revision says, and returns a sentence for
// the new revision's description.
func (in DeploymentCreation) rollBack(tx *Tx, a *cf.App, d *cf.Deployment) (string, error) {
	if in.RollbackTo == "" {
		return "", nil
	}
	r, ok := revisions.get(tx, "id", in.RollbackTo)
	if !ok || r.AppGUID != a.GUID {
		return "", cf.ErrUnprocessable.With("The revision does not exist")
	}
	if !droplets.has(tx, "id", r.DropletGUID) {
		return "", cf.ErrUnprocessable.With("Unable to deploy this revision, the droplet for this revision no longer exists.")
	}
	if r.GUID == a.RevisionGUID && r.DropletGUID == a.DropletGUID && len(changes(r, cf.Revision{
		AppRun: appRun(tx, *a), DropletGUID: a.DropletGUID,
	})) == 0 {
		return "", cf.ErrUnprocessable.With("Unable to rollback. The code and configuration you are rolling back to is the same as the deployed revision.")
	}
	before := appRun(tx, *a)
	d.Previous = &before
	d.DropletGUID = r.DropletGUID
	restore(tx, a, r.AppRun, d.CreatedAt)
	return fmt.Sprintf("Rolled back to revision %d.", r.Version), nil
}

func (in DeploymentCreation) updateWeb(tx *Tx, a cf.App) error {
	web, ok := processes.get(tx, "type", a.GUID, cf.ProcessWeb)
	if !ok {
		return cf.ErrUnprocessable.With("The app has no process of type 'web'.")
	}
	u, was := *in.Web, web
	set(&web.Instances, u.Instances)
	set(&web.MemoryMB, u.MemoryMB)
	set(&web.DiskMB, u.DiskMB)
	set(&web.LogRateBytes, u.LogRateBytes)
	web.UpdatedAt = in.Deployment.CreatedAt
	if err := checkResize(tx, a, was, web); err != nil {
		return err
	}
	processes.put(tx, web)
	return nil
}

// begin puts the app, the new version and the deployment.
func begin(tx *Tx, a cf.App, d *cf.Deployment) error {
	at := d.CreatedAt
	d.StatusChangedAt = at
	web, ok := processes.get(tx, "type", a.GUID, cf.ProcessWeb)
	if !ok {
		return cf.ErrUnprocessable.With("The app has no process of type 'web'.")
	}
	d.ProcessGUID = web.GUID
	d.Status, d.Reason = cf.DeploymentActive, cf.ReasonDeploying
	if d.Strategy == cf.StrategyCanary {
		d.CanaryStep = 1
	}
	if err := checkStart(tx, a); err != nil {
		return err
	}
	if a.State == cf.AppStopped {
		d.Status, d.Reason = cf.DeploymentFinalized, cf.ReasonDeployed
		if err := runNewVersions(tx, &a, d.NewVersion, at); err != nil {
			return err
		}
	} else {
		apps.put(tx, a)
		if err := newVersion(tx, a, web, d.NewVersion, at); err != nil {
			return err
		}
	}
	deployments.put(tx, *d)
	return nil
}

// supersede ends the active deployment of an app for another plan.
func supersede(tx *Tx, appGUID string, at time.Time) (cf.Deployment, bool) {
	d, ok := activeDeployment(tx, appGUID)
	if !ok {
		return d, false
	}
	d.Status, d.Reason = cf.DeploymentFinalized, cf.ReasonSuperseded
	d.StatusChangedAt, d.UpdatedAt = at, at
	deployments.put(tx, d)
	return d, true
}

func forgetDeployments(tx *Tx, appGUID string) {
	all := deploymentsOfApp(tx, appGUID)
	for _, d := range all[:max(0, len(all)-deploymentsKept)] {
		if d.Status == cf.DeploymentFinalized {
			deployments.remove(tx, "id", d.GUID)
		}
	}
}
