package state

import (
	"context"
	"slices"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

var sidecars = newTable[cf.Sidecar]("cf_sidecars", byGUID(), unique("name", "AppGUID", "Name"), by("app", "AppGUID"))

// Sidecar returns one sidecar.
func (v *View) Sidecar(guid string) (cf.Sidecar, bool) { return sidecars.get(v, "id", guid) }

// SidecarsOfApp returns the sidecars of an app, the oldest first.
func (v *View) SidecarsOfApp(appGUID string) []cf.Sidecar { return sidecarsOfApp(v, appGUID) }

// SidecarsOfProcess returns the sidecars of one process type of an app.
func (v *View) SidecarsOfProcess(appGUID, typ string) []cf.Sidecar {
	return sidecarsOf(v, appGUID, typ)
}

func sidecarsOfApp(r reader, appGUID string) []cf.Sidecar {
	out := sidecars.list(r, "app", appGUID)
	slices.SortFunc(out, func(a, b cf.Sidecar) int { return older(a.Resource, b.Resource) })
	return out
}

func sidecarsOf(r reader, appGUID, typ string) []cf.Sidecar {
	return slices.DeleteFunc(sidecarsOfApp(r, appGUID), func(s cf.Sidecar) bool {
		return !slices.Contains(s.ProcessTypes, typ)
	})
}

var createSidecar = newCommand("cf.sidecar.create", 1, func(tx *Tx, in cf.Sidecar) (none, error) {
	if _, err := getApp(tx, in.AppGUID); err != nil {
		return none{}, err
	}
	if sidecars.has(tx, "name", in.AppGUID, in.Name) {
		return none{}, sidecarTaken(in.Name)
	}
	sidecars.put(tx, in)
	return none{}, nil
})

func sidecarTaken(name string) error {
	return cf.ErrUnprocessable.With("Sidecar with name '%s' already exists for given app", name)
}

// CreateSidecar adds a sidecar to an app. It runs from the next start on.
func (s *Store) CreateSidecar(ctx context.Context, c cf.Sidecar) error {
	_, err := createSidecar.do(ctx, s, c)
	return err
}

// CreateSidecar is like Store.CreateSidecar.
func (b *Batch) CreateSidecar(c cf.Sidecar) { createSidecar.queue(b, c) }

// SidecarUpdate changes what is not nil.
type SidecarUpdate struct {
	GUID         string    `json:"guid"`
	Name         *string   `json:"name,omitempty"`
	Command      *string   `json:"command,omitempty"`
	ProcessTypes *[]string `json:"process_types,omitempty"`
	MemoryMB     *int      `json:"memory_mb,omitempty"`
	At           time.Time `json:"at"`
}

var updateSidecar = newCommand("cf.sidecar.update", 1, func(tx *Tx, in SidecarUpdate) (cf.Sidecar, error) {
	c, ok := sidecars.get(tx, "id", in.GUID)
	if !ok {
		return c, cf.ErrNotFound.With("Sidecar not found")
	}
	if in.Name != nil && *in.Name != c.Name && sidecars.has(tx, "name", c.AppGUID, *in.Name) {
		return c, sidecarTaken(*in.Name)
	}
	set(&c.Name, in.Name)
	set(&c.Command, in.Command)
	set(&c.ProcessTypes, in.ProcessTypes)
	set(&c.MemoryMB, in.MemoryMB)
	c.Origin = cf.SidecarUser
	c.UpdatedAt = in.At
	sidecars.put(tx, c)
	return c, nil
})

// UpdateSidecar changes a sidecar and returns it. It is the user's then.
func (s *Store) UpdateSidecar(ctx context.Context, u SidecarUpdate) (cf.Sidecar, error) {
	return updateSidecar.do(ctx, s, u)
}

// UpdateSidecar is like Store.UpdateSidecar.
func (b *Batch) UpdateSidecar(u SidecarUpdate) { updateSidecar.queue(b, u) }

var deleteSidecar = newCommand("cf.sidecar.delete", 1, func(tx *Tx, in Target) (none, error) {
	if sidecars.remove(tx, "id", in.GUID) == 0 {
		return none{}, cf.ErrNotFound.With("Sidecar not found")
	}
	return none{}, nil
})

// DeleteSidecar removes a sidecar.
func (s *Store) DeleteSidecar(ctx context.Context, t Target) error {
	_, err := deleteSidecar.do(ctx, s, t)
	return err
}

// replaceDropletSidecars makes an app's sidecars of buildpacks those of a
// droplet; the user's of the same name win.
func replaceDropletSidecars(tx *Tx, d cf.Droplet, guids map[string]string, at time.Time) error {
	for _, c := range sidecarsOfApp(tx, d.AppGUID) {
		if c.Origin == cf.SidecarBuildpack {
			sidecars.remove(tx, "id", c.GUID)
		}
	}
	for _, c := range d.Sidecars {
		if sidecars.has(tx, "name", d.AppGUID, c.Name) {
			continue
		}
		if guids[c.Name] == "" {
			return cf.ErrServer.With("There is no GUID for the sidecar '%s'.", c.Name)
		}
		sidecars.put(tx, cf.Sidecar{
			Resource: cf.Resource{GUID: guids[c.Name], CreatedAt: at, UpdatedAt: at},
			AppGUID:  d.AppGUID, Name: c.Name, Command: c.Command, MemoryMB: c.MemoryMB,
			ProcessTypes: []string{cf.ProcessWeb}, Origin: cf.SidecarBuildpack,
		})
	}
	return nil
}

// putSidecars makes an app's sidecars those of a revision.
func putSidecars(tx *Tx, appGUID string, all []cf.Sidecar) {
	sidecars.remove(tx, "app", appGUID)
	for _, c := range all {
		sidecars.put(tx, c)
	}
}
