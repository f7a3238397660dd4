package state

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

var revisions = newTable[cf.Revision]("cf_revisions", byGUID(), by("app", "AppGUID"))

// Revision returns one revision.
func (v *View) Revision(guid string) (cf.Revision, bool) { return revisions.get(v, "id", guid) }

// RevisionsOfApp returns the revisions of an app, the oldest first.
func (v *View) RevisionsOfApp(appGUID string) []cf.Revision { return revisionsOfApp(v, appGUID) }

func revisionsOfApp(r reader, appGUID string) []cf.Revision {
	out := revisions.list(r, "app", appGUID)
	slices.SortFunc(out, func(a, b cf.Revision) int { return a.Version - b.Version })
	return out
}

// revisionsKept is how many revisions an app keeps, as in Cloud Foundry.
const revisionsKept = 100

// nextRevision adds a revision if the app would run something else than its
// newest one says, and makes a name it; the caller puts a. extra is a sentence
// for its description.
func nextRevision(tx *Tx, a *cf.App, guid, extra string, at time.Time) {
	if a.RevisionsOff {
		return
	}
	r := cf.Revision{
		Resource:    cf.Resource{GUID: guid, CreatedAt: at, UpdatedAt: at},
		AppRun:      appRun(tx, *a),
		AppGUID:     a.GUID,
		DropletGUID: a.DropletGUID,
	}
	why := []string{"Initial revision."}
	if newest, ok := revisions.get(tx, "id", a.RevisionGUID); ok {
		why = changes(newest, r)
	}
	if extra != "" {
		why = append(why, extra)
	}
	if len(why) == 0 {
		return
	}
	r.Description = strings.Join(why, " ")
	r.Version = a.RevisionVersion + 1
	a.RevisionGUID, a.RevisionVersion = guid, r.Version
	revisions.put(tx, r)
	all := revisionsOfApp(tx, a.GUID)
	for _, old := range all[:max(0, len(all)-revisionsKept)] {
		revisions.remove(tx, "id", old.GUID)
	}
}

// appRun is what a revision of the app would keep now.
func appRun(tx *Tx, a cf.App) cf.AppRun {
	run := cf.AppRun{Env: a.Env, Commands: map[string]string{}, Sidecars: sidecarsOfApp(tx, a.GUID)}
	for p := range processes.each(tx, "app", a.GUID) {
		run.Commands[p.Type] = p.Command
	}
	return run
}

// changes says in Cloud Foundry's words what is different between revisions.
func changes(old, now cf.Revision) []string {
	var why []string
	if old.DropletGUID != now.DropletGUID {
		why = append(why, "New droplet deployed.")
	}
	if !maps.EqualFunc(old.Env, now.Env, func(a, b cf.Secret) bool { return bytes.Equal(a, b) }) {
		why = append(why, "New environment variables deployed.")
	}
	types := map[string]bool{}
	for _, m := range []map[string]string{old.Commands, now.Commands} {
		for typ := range m {
			types[typ] = true
		}
	}
	for _, typ := range slices.Sorted(maps.Keys(types)) {
		was, is := old.Commands[typ], now.Commands[typ]
		switch {
		case was == is:
		case was == "":
			why = append(why, fmt.Sprintf("Custom start command added for '%s' process.", typ))
		case is == "":
			why = append(why, fmt.Sprintf("Custom start command removed for '%s' process.", typ))
		default:
			why = append(why, fmt.Sprintf("Custom start command updated for '%s' process.", typ))
		}
	}
	if !slices.EqualFunc(old.Sidecars, now.Sidecars, func(a, b cf.Sidecar) bool {
		return a.Name == b.Name && a.Command == b.Command && a.MemoryMB == b.MemoryMB &&
			slices.Equal(a.ProcessTypes, b.ProcessTypes)
	}) {
		why = append(why, "Sidecars updated.")
	}
	return why
}

// restore makes an app what a revision, or what stood before it, says.
func restore(tx *Tx, a *cf.App, run cf.AppRun, at time.Time) {
	a.Env = run.Env
	for _, p := range processes.list(tx, "app", a.GUID) {
		if p.Command != run.Commands[p.Type] {
			p.Command = run.Commands[p.Type]
			p.UpdatedAt = at
			processes.put(tx, p)
		}
	}
	putSidecars(tx, a.GUID, run.Sidecars)
}

// RevisionUpdate changes a revision's metadata.
type RevisionUpdate struct {
	GUID     string           `json:"guid"`
	Metadata cf.MetadataPatch `json:"metadata,omitzero"`
	At       time.Time        `json:"at"`
}

var updateRevision = newAudited("cf.revision.update", 1, func(tx *Tx, in RevisionUpdate) (cf.Revision, error) {
	r, ok := revisions.get(tx, "id", in.GUID)
	if !ok {
		return r, cf.ErrNotFound.With("Revision not found")
	}
	r.Metadata = r.Patched(in.Metadata)
	r.UpdatedAt = in.At
	revisions.put(tx, r)
	return r, nil
})

// UpdateRevision changes a revision's metadata and returns it.
func (s *Store) UpdateRevision(ctx context.Context, u RevisionUpdate) (cf.Revision, error) {
	return updateRevision.do(ctx, s, u)
}
