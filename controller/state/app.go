package state

import (
	"context"
	"iter"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

var apps = newTable[cf.App]("cf_apps", byGUID(), uniqueName("SpaceGUID", "Name"),
	by("space", "SpaceGUID"), by("state", "State"), byCreation(appResource))

func appResource(a *cf.App) cf.Resource { return a.Resource }

// App returns one app.
func (v *View) App(guid string) (cf.App, bool) { return apps.get(v, "id", guid) }

// AppByName finds an app in its space, without regard to case.
func (v *View) AppByName(spaceGUID, name string) (cf.App, bool) {
	return apps.get(v, "name", spaceGUID, name)
}

// Apps returns all apps, the oldest first.
func (v *View) Apps() []cf.App { return apps.list(v, "created_prefix", "") }

// AppsByCreation returns all apps in the order of creation, those of one
// moment by GUID. Rows and slice are the state's own: never change them. It
// costs nothing while no app changes.
func (v *View) AppsByCreation() []*cf.App { return v.kept.apps.of(v, apps, appResource) }

// EachApp yields the apps of a space, in no useful order. The rows are the
// state's own: never change them.
func (v *View) EachApp(spaceGUID string) iter.Seq[*cf.App] {
	return apps.refs(v, "space", spaceGUID)
}

// AppsOfSpace returns the apps of a space, in no useful order.
func (v *View) AppsOfSpace(spaceGUID string) []cf.App { return apps.list(v, "space", spaceGUID) }

// AppsInState returns the apps that are AppStarted or AppStopped.
func (v *View) AppsInState(state string) []cf.App { return apps.list(v, "state", state) }

func getApp(tx *Tx, guid string) (cf.App, error) {
	a, ok := apps.get(tx, "id", guid)
	if !ok {
		return a, cf.ErrNotFound.With("App not found")
	}
	return a, nil
}

// AppCreation is an app with the process "web" that every app has.
type AppCreation struct {
	App cf.App     `json:"app"`
	Web cf.Process `json:"web"`
}

var createApp = newAudited("cf.app.create", 1, func(tx *Tx, in AppCreation) (none, error) {
	if apps.has(tx, "name", in.App.SpaceGUID, in.App.Name) {
		return none{}, cf.ErrUniqueness.With("App with the name '%s' already exists.", in.App.Name)
	}
	if in.App.State != cf.AppStopped || in.Web.AppGUID != in.App.GUID || in.Web.Type != cf.ProcessWeb {
		return none{}, cf.ErrServer.With("A new app is stopped and has a process web.")
	}
	if !spaces.has(tx, "id", in.App.SpaceGUID) {
		return none{}, cf.ErrUnprocessable.With("Invalid space. Ensure that the space exists and you have access to it.")
	}
	apps.put(tx, in.App)
	processes.put(tx, in.Web)
	return none{}, nil
})

// CreateApp adds a stopped app with its web process.
func (s *Store) CreateApp(ctx context.Context, c AppCreation) error {
	_, err := createApp.do(ctx, s, c)
	return err
}

// CreateApp is like Store.CreateApp.
func (b *Batch) CreateApp(c AppCreation) { createApp.queue(b, c) }

// AppUpdate changes what is not nil.
type AppUpdate struct {
	GUID          string           `json:"guid"`
	Name          *string          `json:"name,omitempty"`
	Buildpacks    *[]string        `json:"buildpacks,omitempty"`
	Stack         *string          `json:"stack,omitempty"`
	PlacementZone *string          `json:"placement_zone,omitempty"`
	RevisionsOff  *bool            `json:"revisions_off,omitempty"`
	SSHOff        *bool            `json:"ssh_off,omitempty"`
	Env           cf.SecretMap     `json:"env,omitempty"` // a nil value removes a variable
	Metadata      cf.MetadataPatch `json:"metadata,omitzero"`
	At            time.Time        `json:"at"`
}

var updateApp = newAudited("cf.app.update", 1, func(tx *Tx, in AppUpdate) (cf.App, error) {
	a, err := getApp(tx, in.GUID)
	if err != nil {
		return a, err
	}
	if in.Name != nil && *in.Name != a.Name {
		if other, taken := apps.get(tx, "name", a.SpaceGUID, *in.Name); taken && other.GUID != a.GUID {
			return a, cf.ErrUniqueness.With("App with the name '%s' already exists.", *in.Name)
		}
		a.Name = *in.Name
	}
	set(&a.Buildpacks, in.Buildpacks)
	set(&a.Stack, in.Stack)
	set(&a.PlacementZone, in.PlacementZone)
	set(&a.RevisionsOff, in.RevisionsOff)
	set(&a.SSHOff, in.SSHOff)
	a.Env = a.Env.Patched(in.Env)
	a.Metadata = a.Patched(in.Metadata)
	a.UpdatedAt = in.At
	apps.put(tx, a)
	return a, nil
})

// set changes a field if there is a new value.
func set[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

// UpdateApp changes an app and returns it. A changed environment or placement
// takes effect with the next start.
func (s *Store) UpdateApp(ctx context.Context, u AppUpdate) (cf.App, error) {
	return updateApp.do(ctx, s, u)
}

// UpdateApp is like Store.UpdateApp.
func (b *Batch) UpdateApp(u AppUpdate) { updateApp.queue(b, u) }

// Target names a row and the time at which something is done with it.
type Target struct {
	GUID string    `json:"guid"`
	At   time.Time `json:"at"`
}

var deleteApp = newAudited("cf.app.delete", 1, func(tx *Tx, in Target) (none, error) {
	if _, err := getApp(tx, in.GUID); err != nil {
		return none{}, err
	}
	removeApp(tx, in.GUID)
	return none{}, nil
})

// removeApp removes an app and every row that is the app's. Its routes stay;
// jobs and blobs that no row names any more are cleaned up elsewhere.
func removeApp(tx *Tx, guid string) {
	processes.remove(tx, "app", guid)
	processVersions.remove(tx, "app", guid)
	packages.remove(tx, "app", guid)
	builds.remove(tx, "app", guid)
	droplets.remove(tx, "app", guid)
	deployments.remove(tx, "app", guid)
	revisions.remove(tx, "app", guid)
	sidecars.remove(tx, "app", guid)
	tasks.remove(tx, "app", guid)
	serviceBindings.remove(tx, "app", guid)
	destinations.remove(tx, "app", guid)
	apps.remove(tx, "id", guid)
}

// DeleteApp removes an app with all that belongs to it, but not its routes.
func (s *Store) DeleteApp(ctx context.Context, t Target) error {
	_, err := deleteApp.do(ctx, s, t)
	return err
}
