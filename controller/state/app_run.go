package state

import (
	"context"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

// AppStart starts or restarts an app.
type AppStart struct {
	GUID string `json:"guid"`
	// Restart makes new versions of an app that is started already; without
	// it such an app is left as it is.
	Restart bool `json:"restart,omitempty"`
	// Version is the name of the new process versions.
	Version string `json:"version"`
	// RevisionGUID is for the revision, if a new one is due.
	RevisionGUID string    `json:"revision_guid"`
	At           time.Time `json:"at"`
}

var startApp = newAudited("cf.app.start", 1, func(tx *Tx, in AppStart) (cf.App, error) {
	a, err := getApp(tx, in.GUID)
	if err != nil {
		return a, err
	}
	if a.State == cf.AppStarted && !in.Restart {
		return a, nil
	}
	if a.DropletGUID == "" {
		return a, cf.ErrUnprocessable.With("Assign a droplet before starting this app.")
	}
	if err := checkStart(tx, a); err != nil {
		return a, err
	}
	supersede(tx, a.GUID, in.At)
	nextRevision(tx, &a, in.RevisionGUID, "", in.At)
	if err := runNewVersions(tx, &a, in.Version, in.At); err != nil {
		return a, err
	}
	return a, nil
})

// StartApp starts or restarts an app with its current droplet, environment
// and settings, and returns it.
func (s *Store) StartApp(ctx context.Context, in AppStart) (cf.App, error) {
	return startApp.do(ctx, s, in)
}

var stopApp = newAudited("cf.app.stop", 1, func(tx *Tx, in Target) (cf.App, error) {
	a, err := getApp(tx, in.GUID)
	if err != nil {
		return a, err
	}
	supersede(tx, a.GUID, in.At)
	if a.State == cf.AppStopped {
		return a, nil
	}
	a.State = cf.AppStopped
	a.UpdatedAt = in.At
	apps.put(tx, a)
	return a, nil
})

// StopApp stops an app and returns it.
func (s *Store) StopApp(ctx context.Context, t Target) (cf.App, error) { return stopApp.do(ctx, s, t) }

// checkStart refuses the start of an app that has an unknown process, or that
// its quotas have no room for.
func checkStart(tx *Tx, a cf.App) error {
	var u Usage
	largest := 0
	d, _ := droplets.get(tx, "id", a.DropletGUID)
	for p := range processes.each(tx, "app", a.GUID) {
		if err := checkCommand(p, d); err != nil {
			return err
		}
		u.MemoryMB += p.Instances * p.MemoryMB
		u.Instances += p.Instances
		if p.Instances > 0 {
			largest = max(largest, p.MemoryMB)
		}
	}
	if a.State == cf.AppStarted {
		return nil
	}
	return checkAppQuota(tx, a.SpaceGUID, u.MemoryMB, u.Instances, largest)
}

// checkCommand refuses to run a process that has no command.
func checkCommand(p cf.Process, d cf.Droplet) error {
	if p.Instances == 0 || p.Command != "" || d.ProcessTypes[p.Type] != "" {
		return nil
	}
	return cf.ErrUnprocessable.With("Start command not specified: the droplet has none for the process '%s'. "+
		"Give the process a command, or scale it to 0 instances.", p.Type)
}

// checkResize refuses a process that became too large for its quotas.
func checkResize(tx *Tx, a cf.App, was, is cf.Process) error {
	perInstance := 0
	if is.MemoryMB > was.MemoryMB {
		perInstance = is.MemoryMB
	}
	if a.State != cf.AppStarted {
		return checkAppQuota(tx, a.SpaceGUID, 0, 0, perInstance)
	}
	return checkAppQuota(tx, a.SpaceGUID,
		is.Instances*is.MemoryMB-was.Instances*was.MemoryMB, is.Instances-was.Instances, perInstance)
}

// runNewVersions puts the app as started, every process with a new version.
func runNewVersions(tx *Tx, a *cf.App, version string, at time.Time) error {
	a.State = cf.AppStarted
	a.UpdatedAt = at
	apps.put(tx, *a)
	for _, p := range processes.list(tx, "app", a.GUID) {
		if err := newVersion(tx, *a, p, version, at); err != nil {
			return err
		}
		p.Version = version
		processes.put(tx, p)
	}
	return nil
}

// newVersion keeps what a process would run now under the name of a version.
func newVersion(tx *Tx, a cf.App, p cf.Process, version string, at time.Time) error {
	d, ok := droplets.get(tx, "id", a.DropletGUID)
	if !ok || d.State != cf.DropletStaged {
		return cf.ErrUnprocessable.With("The current droplet is gone. Stage the app again: cf restage %s", a.Name)
	}
	pv := cf.ProcessVersion{
		ProcessSettings: p.ProcessSettings,
		ProcessGUID:     p.GUID,
		Version:         version,
		AppGUID:         a.GUID,
		Type:            p.Type,
		DropletGUID:     d.GUID,
		Droplet:         d.Blob,
		Stack:           a.Stack,
		PlacementZone:   a.PlacementZone,
		Env:             a.Env,
		Services:        boundServices(tx, a.GUID),
		Sidecars:        sidecarsOf(tx, a.GUID, p.Type),
		RevisionGUID:    a.RevisionGUID,
		CreatedAt:       at,
	}
	if pv.Command == "" {
		pv.Command = d.ProcessTypes[p.Type]
	}
	if d.Stack != "" {
		pv.Stack = d.Stack
	}
	processVersions.put(tx, pv)
	return nil
}
