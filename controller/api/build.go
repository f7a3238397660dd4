package api

import (
	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (a *API) buildRoutes() []route {
	return []route{
		{"POST", "/v3/builds", auth.AppManage, "Stage a package.", createBuild},
		{"GET", "/v3/builds", auth.AppRead, "List builds.", listBuilds},
		{"GET", "/v3/builds/{guid}", auth.AppRead, "Show a build.", getBuild},
		{"PATCH", "/v3/builds/{guid}", auth.AppWrite, "Change a build's metadata.", updateBuild},
		{"GET", "/v3/apps/{guid}/builds", auth.AppRead, "List an app's builds.", listAppBuilds},
	}
}

// What a build gets at least, in MiB; it gets as much as the app has.
const (
	stagingMemoryMB = 1024
	stagingDiskMB   = 4096
)

type buildJSON struct {
	head
	State         string         `json:"state"`
	MemoryMB      int            `json:"staging_memory_in_mb"`
	DiskMB        int            `json:"staging_disk_in_mb"`
	LogRate       int64          `json:"staging_log_rate_limit_bytes_per_second"`
	Error         *string        `json:"error"`
	Lifecycle     lifecycleJSON  `json:"lifecycle"`
	Package       relationData   `json:"package"`
	Droplet       *dropletRef    `json:"droplet"`
	CreatedBy     cf.Actor       `json:"created_by"`
	Relationships map[string]any `json:"relationships"`
	Metadata      metadata       `json:"metadata"`
	Links         links          `json:"links"`
}

type dropletRef struct {
	GUID string `json:"guid"`
}

func presentBuild(r *request, b cf.Build) any {
	out := buildJSON{
		head: headOf(b.Resource), State: b.State, MemoryMB: b.MemoryMB, DiskMB: b.DiskMB, LogRate: b.LogRateBytes,
		Error: orNull(b.Error), Lifecycle: lifecycleOf(b.Buildpacks, b.Stack), Package: relationData{b.PackageGUID},
		CreatedBy: b.CreatedBy, Relationships: map[string]any{"app": toOne(b.AppGUID)}, Metadata: metadataOf(b.Metadata),
		Links: links{"self": {Href: r.link("/v3/builds/", b.GUID)}, "app": {Href: r.link("/v3/apps/", b.AppGUID)}},
	}
	if b.DropletGUID != "" {
		out.Droplet = &dropletRef{b.DropletGUID}
		out.Links["droplet"] = link{Href: r.link("/v3/droplets/", b.DropletGUID)}
	}
	return out
}

func buildApp(b *cf.Build) string { return b.AppGUID }

func listAppBuilds(r *request) (response, error) {
	if _, err := r.app(auth.AppRead); err != nil {
		return response{}, err
	}
	return listBuilds(r)
}

func listBuilds(r *request) (response, error) {
	return listing[cf.Build]{
		resource: func(b *cf.Build) cf.Resource { return b.Resource },
		metadata: func(b *cf.Build) cf.Metadata { return b.Metadata },
		filters: appFilters(r, buildApp, map[string]func(*cf.Build) string{
			"states":        func(b *cf.Build) string { return b.State },
			"package_guids": func(b *cf.Build) string { return b.PackageGUID },
		}),
		present: presentBuild,
	}.serve(r, readable(r, ofApps(r, r.view.BuildsOfApp, r.view.Builds), buildApp))
}

// build is the path's build, if the user may do action.
func (r *request) build(action auth.Action) (cf.Build, error) {
	b, found := r.view.Build(r.guid())
	if !found {
		return b, cf.ErrNotFound.With("Build not found")
	}
	_, err := r.appNamed(b.AppGUID, action, "Build")
	return b, err
}

func getBuild(r *request) (response, error) {
	b, err := r.build(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	return ok(presentBuild(r, b))
}

func updateBuild(r *request) (response, error) {
	b, err := r.build(auth.AppWrite)
	if err != nil {
		return response{}, err
	}
	meta, err := r.metadataOnly()
	if err != nil {
		return response{}, err
	}
	if b, err = r.store().UpdateBuild(r.Context(), state.BuildUpdate{GUID: b.GUID, Metadata: meta, At: r.now}); err != nil {
		return response{}, err
	}
	return ok(presentBuild(r, b))
}

var errUnusablePackage = cf.ErrUnprocessable.With("Unable to use package. Ensure that the package exists and you have access to it.")

func createBuild(r *request) (response, error) {
	var body struct {
		Package struct {
			GUID string `json:"guid"`
		} `json:"package"`
		Lifecycle *lifecycleBody `json:"lifecycle"`
		MemoryMB  *int           `json:"staging_memory_in_mb"`
		DiskMB    *int           `json:"staging_disk_in_mb"`
		LogRate   *int64         `json:"staging_log_rate_limit_bytes_per_second"`
		Metadata  *metadataBody  `json:"metadata"`
	}
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	size := scaleBody{MemoryMB: body.MemoryMB, DiskMB: body.DiskMB, LogRate: body.LogRate}
	if err := size.problems(r).err(); err != nil {
		return response{}, err
	}
	if err := body.Lifecycle.check(r); err != nil {
		return response{}, err
	}
	p, found := r.view.Package(body.Package.GUID)
	if !found {
		return response{}, errUnusablePackage
	}
	a, err := r.appNamed(p.AppGUID, auth.AppManage, "Package")
	if err != nil && cf.ErrNotFound.Is(err) {
		return response{}, errUnusablePackage
	}
	if err != nil {
		return response{}, err
	}
	meta, err := body.Metadata.fresh()
	if err != nil {
		return response{}, err
	}
	memory, disk := stagingMemoryMB, stagingDiskMB
	if web, found := r.view.ProcessByType(a.GUID, cf.ProcessWeb); found {
		memory, disk = max(memory, web.MemoryMB), max(disk, web.DiskMB)
	}
	b := cf.Build{
		Resource: r.resource(), Metadata: meta, AppGUID: a.GUID, PackageGUID: p.GUID, State: cf.BuildStaging,
		Buildpacks: a.Buildpacks, Stack: a.Stack,
		MemoryMB: deref(body.MemoryMB, memory), DiskMB: deref(body.DiskMB, disk), LogRateBytes: deref(body.LogRate, -1),
		CreatedBy: cf.Actor{GUID: r.user.UserID, Name: r.user.UserName, Email: r.user.UserName},
	}
	if l := body.Lifecycle; l != nil {
		b.Buildpacks, b.Stack = deref(l.Data.Buildpacks, b.Buildpacks), deref(l.Data.Stack, b.Stack)
	}
	ctx := r.auditApp("audit.app.build.create", a, map[string]any{"build_guid": b.GUID, "package_guid": p.GUID})
	if err := r.store().CreateBuild(ctx, b); err != nil {
		return response{}, err
	}
	r.log(a.GUID, "Creating build for app with guid %s", a.GUID)
	return created(presentBuild(r, b))
}
