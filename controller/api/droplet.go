package api

import (
	"cmp"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (a *API) dropletRoutes() []route {
	return []route{
		{"POST", "/v3/droplets", auth.AppWrite, "Create a droplet to upload, or copy one (source_guid).", createDroplet},
		{"GET", "/v3/droplets", auth.AppRead, "List droplets.", listDroplets},
		{"GET", "/v3/droplets/{guid}", auth.AppRead, "Show a droplet.", getDroplet},
		{"PATCH", "/v3/droplets/{guid}", auth.AppWrite, "Change a droplet's metadata.", updateDroplet},
		{"DELETE", "/v3/droplets/{guid}", auth.AppWrite, "Delete a droplet (job).", deleteDroplet},
		{"POST", "/v3/droplets/{guid}/upload", auth.AppWrite, "Upload a droplet's tar.gz (job).", uploadDroplet},
		{"GET", "/v3/droplets/{guid}/download", auth.AppWrite, "Download a droplet's tar.gz.", downloadDroplet},
		{"GET", "/v3/apps/{guid}/droplets", auth.AppRead, "List an app's droplets.", listAppDroplets},
		{"GET", "/v3/packages/{guid}/droplets", auth.AppRead, "List the droplets made from a package.", listPackageDroplets},
		{"GET", "/v3/apps/{guid}/droplets/current", auth.AppRead, "Show an app's current droplet.", getCurrentDroplet},
		{"GET", "/v3/apps/{guid}/relationships/current_droplet", auth.AppRead, "Show which droplet is an app's current one.", getCurrentDropletRelation},
		{"PATCH", "/v3/apps/{guid}/relationships/current_droplet", auth.AppManage, "Set an app's current droplet.", setCurrentDroplet},
	}
}

type dropletJSON struct {
	head
	State             string            `json:"state"`
	Error             *string           `json:"error"`
	Lifecycle         any               `json:"lifecycle"`
	ExecutionMetadata string            `json:"execution_metadata"`
	ProcessTypes      map[string]string `json:"process_types"`
	Checksum          *checksumJSON     `json:"checksum"`
	Buildpacks        []dropletPackJSON `json:"buildpacks"`
	Stack             *string           `json:"stack"`
	Image             *string           `json:"image"`
	Relationships     map[string]any    `json:"relationships"`
	Metadata          metadata          `json:"metadata"`
	Links             links             `json:"links"`
}

type dropletPackJSON struct {
	Name          string  `json:"name"`
	DetectOutput  *string `json:"detect_output"`
	BuildpackName string  `json:"buildpack_name"`
	Version       *string `json:"version"`
}

func presentDroplet(r *request, d cf.Droplet) dropletJSON {
	self := r.link("/v3/droplets/", d.GUID)
	out := dropletJSON{
		head: headOf(d.Resource), State: d.State, Error: orNull(d.Error), ProcessTypes: d.ProcessTypes,
		Lifecycle:  map[string]any{"type": "buildpack", "data": map[string]any{}},
		Buildpacks: []dropletPackJSON{}, Stack: orNull(d.Stack), Metadata: metadataOf(d.Metadata),
		Relationships: map[string]any{"app": toOne(d.AppGUID)},
		Links: links{
			"self":                   {Href: self},
			"app":                    {Href: r.link("/v3/apps/", d.AppGUID)},
			"assign_current_droplet": {Href: r.link("/v3/apps/", d.AppGUID, "/relationships/current_droplet"), Method: "PATCH"},
			"download":               {Href: self + "/download"},
		},
	}
	if out.ProcessTypes == nil {
		out.ProcessTypes = map[string]string{}
	}
	if d.Blob.Digest != "" {
		sum := checksumOf(d.Blob)
		out.Checksum = &sum
	}
	if d.PackageGUID != "" {
		out.Links["package"] = link{Href: r.link("/v3/packages/", d.PackageGUID)}
	}
	if d.State == cf.DropletAwaitingUpload {
		out.Links["upload"] = link{Href: self + "/upload", Method: "POST"}
	}
	for _, b := range d.Buildpacks {
		out.Buildpacks = append(out.Buildpacks, dropletPackJSON{b.Name, orNull(b.DetectOutput), b.Name, orNull(b.Version)})
	}
	return out
}

func dropletApp(d *cf.Droplet) string { return d.AppGUID }

func listAppDroplets(r *request) (response, error) {
	a, err := r.app(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	rows := r.view.DropletsOfApp(a.GUID)
	if r.query.Get("current") == "true" {
		rows = nil
		if d, found := r.view.Droplet(a.DropletGUID); found {
			rows = append(rows, d)
		}
	}
	return r.listDroplets(rows)
}

func listPackageDroplets(r *request) (response, error) {
	p, _, err := r.pack(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	return r.listDroplets(r.view.DropletsOfPackage(p.GUID))
}

func listDroplets(r *request) (response, error) {
	return r.listDroplets(ofApps(r, r.view.DropletsOfApp, r.view.Droplets))
}

func (r *request) listDroplets(rows []cf.Droplet) (response, error) {
	return listing[cf.Droplet]{
		resource: func(d *cf.Droplet) cf.Resource { return d.Resource },
		metadata: func(d *cf.Droplet) cf.Metadata { return d.Metadata },
		filters: appFilters(r, dropletApp, map[string]func(*cf.Droplet) string{
			"states":        func(d *cf.Droplet) string { return d.State },
			"package_guids": func(d *cf.Droplet) string { return d.PackageGUID },
		}),
		params: []string{"current"},
		present: func(r *request, d cf.Droplet) any {
			out := presentDroplet(r, d)
			out.ProcessTypes = map[string]string{"redacted_message": hidden}
			return out
		},
	}.serve(r, readable(r, rows, dropletApp))
}

// droplet is the path's droplet and its app, if the user may do action.
func (r *request) droplet(action auth.Action) (cf.Droplet, cf.App, error) {
	d, found := r.view.Droplet(r.guid())
	if !found {
		return d, cf.App{}, cf.ErrNotFound.With("Droplet not found")
	}
	a, err := r.appNamed(d.AppGUID, action, "Droplet")
	return d, a, err
}

func getDroplet(r *request) (response, error) {
	d, _, err := r.droplet(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	return ok(presentDroplet(r, d))
}

func getCurrentDroplet(r *request) (response, error) {
	a, err := r.app(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	d, found := r.view.Droplet(a.DropletGUID)
	if !found {
		return response{}, cf.ErrNotFound.With("Droplet not found")
	}
	return ok(presentDroplet(r, d))
}

func presentCurrentDroplet(r *request, a cf.App) any {
	self := r.link("/v3/apps/", a.GUID)
	return related{toOne(a.DropletGUID).Data, links{
		"self":    {Href: self + "/relationships/current_droplet"},
		"related": {Href: self + "/droplets/current"},
	}}
}

func getCurrentDropletRelation(r *request) (response, error) {
	a, err := r.app(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	if a.DropletGUID == "" {
		return response{}, cf.ErrNotFound.With("Droplet not found")
	}
	return ok(presentCurrentDroplet(r, a))
}

func setCurrentDroplet(r *request) (response, error) {
	a, err := r.app(auth.AppManage)
	if err != nil {
		return response{}, err
	}
	var body relation
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	if body.guid() == "" {
		return response{}, cf.ErrUnprocessable.With("Current droplet cannot be removed. Replace it with a preferred droplet.")
	}
	d, _ := r.view.Droplet(body.guid())
	processes, sidecars := r.namesFor(d)
	ctx := r.auditApp("audit.app.droplet.mapped", a, map[string]any{"request": map[string]any{"droplet_guid": body.guid()}})
	a, err = r.store().AssignDroplet(ctx, state.DropletAssignment{
		AppGUID: a.GUID, DropletGUID: body.guid(), Processes: processes, SidecarGUIDs: sidecars, At: r.now,
	})
	if err != nil {
		return response{}, err
	}
	r.log(a.GUID, "Updated app with guid %s (droplet %s)", a.GUID, body.guid())
	return ok(presentCurrentDroplet(r, a))
}

// namesFor gives GUIDs to what a droplet may bring with it.
func (r *request) namesFor(d cf.Droplet) (state.NewProcesses, map[string]string) {
	n := state.NewProcesses{GUIDs: map[string]string{}, Settings: r.newSettings()}
	for typ := range d.ProcessTypes {
		n.GUIDs[typ] = r.api.NewGUID()
	}
	sidecars := map[string]string{}
	for _, s := range d.Sidecars {
		sidecars[s.Name] = r.api.NewGUID()
	}
	return n, sidecars
}

func updateDroplet(r *request) (response, error) {
	d, _, err := r.droplet(auth.AppWrite)
	if err != nil {
		return response{}, err
	}
	meta, err := r.metadataOnly()
	if err != nil {
		return response{}, err
	}
	if d, err = r.store().UpdateDroplet(r.Context(), state.DropletUpdate{GUID: d.GUID, Metadata: meta, At: r.now}); err != nil {
		return response{}, err
	}
	return ok(presentDroplet(r, d))
}

func deleteDroplet(r *request) (response, error) {
	d, a, err := r.droplet(auth.AppWrite)
	if err != nil {
		return response{}, err
	}
	ctx := r.auditApp("audit.app.droplet.delete", a, map[string]any{"droplet_guid": d.GUID})
	if err := r.store().DeleteDroplet(ctx, state.Target{GUID: d.GUID, At: r.now}); err != nil {
		return response{}, err
	}
	return r.finished("droplet.delete", d.GUID, nil)
}

func downloadDroplet(r *request) (response, error) {
	d, a, err := r.droplet(auth.AppWrite)
	if err != nil {
		return response{}, err
	}
	if d.State != cf.DropletStaged {
		return response{}, cf.ErrUnprocessable.With("Only staged droplets can be downloaded.")
	}
	e := r.event("audit.app.droplet.download", appParty(a), a.SpaceGUID, map[string]any{"droplet_guid": d.GUID})
	if err := r.store().RecordEvent(r.Context(), e); err != nil {
		return response{}, err
	}
	return r.stream(d.Blob, "application/gzip", cmp.Or(a.Name, "app")+".tgz")
}
