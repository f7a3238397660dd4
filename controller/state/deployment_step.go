package state

import (
	"context"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

func getDeployment(tx *Tx, guid string) (cf.Deployment, error) {
	d, ok := deployments.get(tx, "id", guid)
	if !ok {
		return d, cf.ErrNotFound.With("Deployment not found")
	}
	return d, nil
}

// DeploymentProgress is what the work on an active deployment found out; what
// is nil stays.
type DeploymentProgress struct {
	GUID string `json:"guid"`
	// Pause holds a canary deployment at its step.
	Pause         bool              `json:"pause,omitempty"`
	Error         *string           `json:"error,omitempty"`
	LastHealthyAt *time.Time        `json:"last_healthy_at,omitempty"`
	Metadata      *cf.MetadataPatch `json:"metadata,omitempty"`
	At            time.Time         `json:"at"`
}

var progressDeployment = newCommand("cf.deployment.progress", 1, func(tx *Tx, in DeploymentProgress) (cf.Deployment, error) {
	d, err := getDeployment(tx, in.GUID)
	if err != nil {
		return d, err
	}
	if in.Metadata != nil {
		d.Metadata = d.Patched(*in.Metadata)
	}
	if d.Status == cf.DeploymentActive {
		set(&d.Error, in.Error)
		set(&d.LastHealthyAt, in.LastHealthyAt)
		if in.Pause && d.Reason == cf.ReasonDeploying {
			d.Reason, d.StatusChangedAt = cf.ReasonPaused, in.At
		}
	}
	d.UpdatedAt = in.At
	deployments.put(tx, d)
	return d, nil
})

// ProgressDeployment notes progress and returns the deployment as it is now:
// it may have been canceled or superseded meanwhile.
func (s *Store) ProgressDeployment(ctx context.Context, p DeploymentProgress) (cf.Deployment, error) {
	return progressDeployment.do(ctx, s, p)
}

var continueDeployment = newAudited("cf.deployment.continue", 1, func(tx *Tx, in Target) (cf.Deployment, error) {
	d, err := getDeployment(tx, in.GUID)
	if err != nil {
		return d, err
	}
	if d.Status != cf.DeploymentActive || d.Reason != cf.ReasonPaused {
		return d, cf.ErrUnprocessable.With("Cannot continue a deployment with status: %s and reason: %s", d.Status, d.Reason)
	}
	d.CanaryStep++
	d.Reason, d.StatusChangedAt, d.UpdatedAt = cf.ReasonDeploying, in.At, in.At
	deployments.put(tx, d)
	return d, nil
})

// ContinueDeployment lets a paused canary deployment go to its next step.
// Beyond the last one, CanaryStep is len(CanarySteps)+1 (or 2 without steps)
// and all instances are replaced.
func (s *Store) ContinueDeployment(ctx context.Context, t Target) (cf.Deployment, error) {
	return continueDeployment.do(ctx, s, t)
}

var cancelDeployment = newAudited("cf.deployment.cancel", 1, func(tx *Tx, in Target) (cf.Deployment, error) {
	d, err := getDeployment(tx, in.GUID)
	if err != nil {
		return d, err
	}
	if d.Status != cf.DeploymentActive {
		return d, cf.ErrUnprocessable.With("Cannot cancel a %s deployment", d.Status)
	}
	if d.Reason == cf.ReasonCanceling {
		return d, nil
	}
	a, err := getApp(tx, d.AppGUID)
	if err != nil {
		return d, err
	}
	if d.PreviousDropletGUID != "" {
		if !droplets.has(tx, "id", d.PreviousDropletGUID) {
			return d, cf.ErrUnprocessable.With("Unable to cancel deployment, the previous droplet no longer exists.")
		}
		a.DropletGUID = d.PreviousDropletGUID
	}
	if d.Previous != nil {
		restore(tx, &a, *d.Previous, in.At)
	}
	a.UpdatedAt = in.At
	apps.put(tx, a)
	d.Reason, d.StatusChangedAt, d.UpdatedAt = cf.ReasonCanceling, in.At, in.At
	deployments.put(tx, d)
	return d, nil
})

// CancelDeployment makes the previous droplet the app's current one again;
// its instances come back while the deployment is ReasonCanceling.
func (s *Store) CancelDeployment(ctx context.Context, t Target) (cf.Deployment, error) {
	return cancelDeployment.do(ctx, s, t)
}

var finishDeployment = newCommand("cf.deployment.finish", 1, func(tx *Tx, in Target) (cf.Deployment, error) {
	d, err := getDeployment(tx, in.GUID)
	if err != nil {
		return d, err
	}
	if d.Status != cf.DeploymentActive {
		return d, nil
	}
	reason := cf.ReasonDeployed
	if d.Reason == cf.ReasonCanceling {
		reason = cf.ReasonCanceled
	}
	d.Status, d.Reason, d.Error = cf.DeploymentFinalized, reason, ""
	d.StatusChangedAt, d.UpdatedAt = in.At, in.At
	deployments.put(tx, d)
	if reason != cf.ReasonDeployed {
		return d, nil
	}
	a, err := getApp(tx, d.AppGUID)
	if err != nil {
		return d, err
	}
	for _, p := range processes.list(tx, "app", d.AppGUID) {
		if p.GUID != d.ProcessGUID && newVersion(tx, a, p, d.NewVersion, in.At) != nil {
			continue // its droplet was deleted meanwhile: what runs goes on
		}
		p.Version = d.NewVersion
		processes.put(tx, p)
	}
	return d, nil
})

// FinishDeployment ends an active deployment: as canceled if it was
// canceling, else as deployed. Then the web process' version is the new one
// and the app's other processes get new versions. A deployment that has ended
// is returned as it is.
func (s *Store) FinishDeployment(ctx context.Context, t Target) (cf.Deployment, error) {
	return finishDeployment.do(ctx, s, t)
}
