package api

import (
	"slices"
	"strconv"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (a *API) revisionRoutes() []route {
	return []route{
		{"GET", "/v3/revisions/{guid}", auth.AppRead, "Show a revision.", getRevision},
		{"PATCH", "/v3/revisions/{guid}", auth.AppWrite, "Change a revision's metadata.", updateRevision},
		{"GET", "/v3/revisions/{guid}/environment_variables", auth.AppSecrets, "Show a revision's variables.", getRevisionEnv},
		{"GET", "/v3/apps/{guid}/revisions", auth.AppRead, "List an app's revisions.", listRevisions},
		{"GET", "/v3/apps/{guid}/revisions/deployed", auth.AppRead, "List the revisions of which instances run.", listDeployedRevisions},
	}
}

type revisionJSON struct {
	head
	Version       int                    `json:"version"`
	Droplet       dropletRef             `json:"droplet"`
	Processes     map[string]commandJSON `json:"processes"`
	Sidecars      []revisionSidecarJSON  `json:"sidecars"`
	Description   string                 `json:"description"`
	Deployable    bool                   `json:"deployable"`
	Relationships map[string]any         `json:"relationships"`
	Metadata      metadata               `json:"metadata"`
	Links         links                  `json:"links"`
}

type commandJSON struct {
	Command *string `json:"command"`
}

type revisionSidecarJSON struct {
	Name         string   `json:"name"`
	Command      string   `json:"command"`
	ProcessTypes []string `json:"process_types"`
	MemoryMB     *int     `json:"memory_in_mb"`
}

func presentRevision(r *request, v cf.Revision) any {
	self := r.link("/v3/revisions/", v.GUID)
	out := revisionJSON{
		head: headOf(v.Resource), Version: v.Version, Droplet: dropletRef{v.DropletGUID}, Description: v.Description,
		Processes: map[string]commandJSON{}, Sidecars: []revisionSidecarJSON{}, Metadata: metadataOf(v.Metadata),
		Relationships: map[string]any{"app": toOne(v.AppGUID)},
		Links: links{
			"self": {Href: self}, "app": {Href: r.link("/v3/apps/", v.AppGUID)},
			"environment_variables": {Href: self + "/environment_variables"},
		},
	}
	out.Deployable = r.view.HasDroplet(v.DropletGUID)
	for typ, command := range v.Commands {
		out.Processes[typ] = commandJSON{orNull(command)}
	}
	for _, s := range v.Sidecars {
		out.Sidecars = append(out.Sidecars, revisionSidecarJSON{s.Name, s.Command, s.ProcessTypes, orNullNumber(s.MemoryMB)})
	}
	return out
}

func revisionListing(r *request) listing[cf.Revision] {
	return listing[cf.Revision]{
		resource: func(v *cf.Revision) cf.Resource { return v.Resource },
		metadata: func(v *cf.Revision) cf.Metadata { return v.Metadata },
		filters: map[string]func(*cf.Revision) string{
			"versions": func(v *cf.Revision) string { return strconv.Itoa(v.Version) },
			"deployable": func(v *cf.Revision) string {
				return strconv.FormatBool(r.view.HasDroplet(v.DropletGUID))
			},
		},
		orders:  map[string]func(a, b *cf.Revision) int{"version": func(a, b *cf.Revision) int { return a.Version - b.Version }},
		present: presentRevision,
	}
}

func listRevisions(r *request) (response, error) {
	a, err := r.app(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	return revisionListing(r).serve(r, slices.Values(r.view.RevisionsOfApp(a.GUID)))
}

// listDeployedRevisions lists the revisions of the versions that run: two
// within a deployment.
func listDeployedRevisions(r *request) (response, error) {
	a, err := r.app(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	running := map[string]bool{}
	deployment, active := r.view.ActiveDeployment(a.GUID)
	for _, p := range r.view.ProcessesOfApp(a.GUID) {
		if a.State != cf.AppStarted {
			break
		}
		versions := []string{p.Version}
		if active && deployment.ProcessGUID == p.GUID {
			versions = append(versions, deployment.NewVersion)
		}
		for _, version := range versions {
			pv, _ := r.view.ProcessVersion(p.GUID, version)
			running[pv.RevisionGUID] = true
		}
	}
	rows := slices.DeleteFunc(r.view.RevisionsOfApp(a.GUID), func(v cf.Revision) bool { return !running[v.GUID] })
	return revisionListing(r).serve(r, slices.Values(rows))
}

// revision is the path's revision and its app, if the user may do action.
func (r *request) revision(action auth.Action) (cf.Revision, cf.App, error) {
	v, found := r.view.Revision(r.guid())
	if !found {
		return v, cf.App{}, cf.ErrNotFound.With("Revision not found")
	}
	a, err := r.appNamed(v.AppGUID, action, "Revision")
	return v, a, err
}

func getRevision(r *request) (response, error) {
	v, _, err := r.revision(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	return ok(presentRevision(r, v))
}

func updateRevision(r *request) (response, error) {
	v, _, err := r.revision(auth.AppWrite)
	if err != nil {
		return response{}, err
	}
	meta, err := r.metadataOnly()
	if err != nil {
		return response{}, err
	}
	if v, err = r.store().UpdateRevision(r.Context(), state.RevisionUpdate{GUID: v.GUID, Metadata: meta, At: r.now}); err != nil {
		return response{}, err
	}
	return ok(presentRevision(r, v))
}

func getRevisionEnv(r *request) (response, error) {
	v, a, err := r.revision(auth.AppSecrets)
	if err != nil {
		return response{}, err
	}
	vars, err := state.OpenEnv(r.api.Sealer, a.GUID, v.Env)
	if err != nil {
		return response{}, err
	}
	return ok(presentVariables(r, "/v3/revisions/"+v.GUID+"/environment_variables", a, vars))
}
