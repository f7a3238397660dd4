package state

import (
	"context"
	"slices"
	"time"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/wire/instance"
)

var droplets = newTable[cf.Droplet]("cf_droplets", byGUID(), by("app", "AppGUID"), by("package", "PackageGUID"))

// Droplet returns one droplet.
func (v *View) Droplet(guid string) (cf.Droplet, bool) { return droplets.get(v, "id", guid) }

// Droplets returns all droplets, in no useful order.
func (v *View) Droplets() []cf.Droplet { return droplets.list(v, "id") }

// DropletsOfApp returns the droplets of an app, the oldest first.
func (v *View) DropletsOfApp(appGUID string) []cf.Droplet { return dropletsOfApp(v, appGUID) }

func dropletsOfApp(r reader, appGUID string) []cf.Droplet {
	out := droplets.list(r, "app", appGUID)
	slices.SortFunc(out, func(a, b cf.Droplet) int { return older(a.Resource, b.Resource) })
	return out
}

var createDroplet = newAudited("cf.droplet.create", 1, func(tx *Tx, in cf.Droplet) (none, error) {
	if _, ok := apps.get(tx, "id", in.AppGUID); !ok {
		return none{}, cf.ErrUnprocessable.With("App is invalid. Ensure it exists and you have access to it.")
	}
	droplets.put(tx, in)
	expireDroplets(tx, in.AppGUID, in.GUID)
	return none{}, nil
})

// CreateDroplet adds a droplet that is uploaded or copied.
func (s *Store) CreateDroplet(ctx context.Context, d cf.Droplet) error {
	_, err := createDroplet.do(ctx, s, d)
	return err
}

// DropletUpdate changes what is not nil.
type DropletUpdate struct {
	GUID         string             `json:"guid"`
	State        *string            `json:"state,omitempty"`
	Error        *string            `json:"error,omitempty"`
	Blob         *instance.Blob     `json:"blob,omitempty"`
	ProcessTypes *map[string]string `json:"process_types,omitempty"`
	Metadata     cf.MetadataPatch   `json:"metadata,omitzero"`
	// From, if not "", is the state that the droplet must have now.
	From string    `json:"from,omitempty"`
	At   time.Time `json:"at"`
}

var updateDroplet = newAudited("cf.droplet.update", 1, func(tx *Tx, in DropletUpdate) (cf.Droplet, error) {
	d, ok := droplets.get(tx, "id", in.GUID)
	if !ok {
		return d, cf.ErrNotFound.With("Droplet not found")
	}
	if in.From != "" && d.State != in.From {
		return d, cf.ErrUnprocessable.With("Droplet may be uploaded only once. Create a new droplet to upload bits.")
	}
	set(&d.State, in.State)
	set(&d.Error, in.Error)
	set(&d.Blob, in.Blob)
	set(&d.ProcessTypes, in.ProcessTypes)
	d.Metadata = d.Patched(in.Metadata)
	d.UpdatedAt = in.At
	droplets.put(tx, d)
	if in.State != nil && *in.State == cf.DropletStaged {
		expireDroplets(tx, d.AppGUID, d.GUID)
	}
	return d, nil
})

// UpdateDroplet changes a droplet and returns it.
func (s *Store) UpdateDroplet(ctx context.Context, u DropletUpdate) (cf.Droplet, error) {
	return updateDroplet.do(ctx, s, u)
}

var deleteDroplet = newAudited("cf.droplet.delete", 1, func(tx *Tx, in Target) (none, error) {
	d, ok := droplets.get(tx, "id", in.GUID)
	if !ok {
		return none{}, cf.ErrNotFound.With("Droplet not found")
	}
	if a, ok := apps.get(tx, "id", d.AppGUID); ok && a.DropletGUID == d.GUID {
		a.DropletGUID = ""
		apps.put(tx, a)
	}
	droplets.remove(tx, "id", in.GUID)
	return none{}, nil
})

// DeleteDroplet removes a droplet. Process versions that run it keep its
// blob.
func (s *Store) DeleteDroplet(ctx context.Context, t Target) error {
	_, err := deleteDroplet.do(ctx, s, t)
	return err
}

// dropletsKept is how many staged droplets an app keeps besides its current
// one.
const dropletsKept = 5

// expireDroplets removes droplets of an app that are older than the ones
// kept. The current one, the newest and those of an active deployment stay.
func expireDroplets(tx *Tx, appGUID, newest string) {
	a, ok := apps.get(tx, "id", appGUID)
	if !ok {
		return
	}
	keep := map[string]bool{a.DropletGUID: true, newest: true}
	if d, ok := activeDeployment(tx, appGUID); ok {
		keep[d.DropletGUID], keep[d.PreviousDropletGUID] = true, true
	}
	kept := 0
	for _, d := range slices.Backward(dropletsOfApp(tx, appGUID)) {
		if d.GUID == a.DropletGUID {
			continue
		}
		if kept++; kept > dropletsKept && !keep[d.GUID] {
			droplets.remove(tx, "id", d.GUID)
		}
	}
}

// DropletAssignment makes a droplet the current one of its app.
type DropletAssignment struct {
	AppGUID      string            `json:"app_guid"`
	DropletGUID  string            `json:"droplet_guid"`
	Processes    NewProcesses      `json:"processes"`
	SidecarGUIDs map[string]string `json:"sidecar_guids,omitempty"` // for the droplet's, by name
	At           time.Time         `json:"at"`
}

var assignDroplet = newAudited("cf.droplet.assign", 1, func(tx *Tx, in DropletAssignment) (cf.App, error) {
	a, err := getApp(tx, in.AppGUID)
	if err != nil {
		return a, err
	}
	if err := in.apply(tx, &a); err != nil {
		return a, err
	}
	apps.put(tx, a)
	return a, nil
})

// apply changes a and the rows around it; the caller puts a.
func (in DropletAssignment) apply(tx *Tx, a *cf.App) error {
	d, ok := droplets.get(tx, "id", in.DropletGUID)
	if !ok || d.AppGUID != a.GUID {
		return cf.ErrUnprocessable.With("Unable to assign current droplet. Ensure the droplet exists and belongs to this app.")
	}
	if d.State != cf.DropletStaged {
		return cf.ErrUnprocessable.With("Unable to assign current droplet. Ensure the droplet is staged: it is %s.", d.State)
	}
	a.DropletGUID = d.GUID
	a.UpdatedAt = in.At
	if err := in.Processes.add(tx, d, in.At); err != nil {
		return err
	}
	return replaceDropletSidecars(tx, d, in.SidecarGUIDs, in.At)
}

// AssignDroplet sets an app's current droplet, adds processes for its process
// types and returns the app. What runs goes on until the next start.
func (s *Store) AssignDroplet(ctx context.Context, in DropletAssignment) (cf.App, error) {
	return assignDroplet.do(ctx, s, in)
}

// DropletsOfPackage returns the droplets made from a package.
func (v *View) DropletsOfPackage(packageGUID string) []cf.Droplet {
	return droplets.list(v, "package", packageGUID)
}

// HasDroplet reports whether a droplet is there and can run.
func (v *View) HasDroplet(guid string) bool {
	d, ok := v.Droplet(guid)
	return ok && d.State == cf.DropletStaged
}
