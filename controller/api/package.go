package api

import (
	"cmp"
	"net/http"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/blob"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/instance"
)

func (a *API) packageRoutes() []route {
	return []route{
		{"POST", "/v3/packages", auth.AppWrite, "Create a package, or copy one (source_guid).", createPackage},
		{"GET", "/v3/packages", auth.AppRead, "List packages.", listPackages},
		{"GET", "/v3/packages/{guid}", auth.AppRead, "Show a package.", getPackage},
		{"PATCH", "/v3/packages/{guid}", auth.AppWrite, "Change a package's metadata.", updatePackage},
		{"DELETE", "/v3/packages/{guid}", auth.AppWrite, "Delete a package (job).", deletePackage},
		{"POST", "/v3/packages/{guid}/upload", auth.AppWrite, "Upload a package's zip, and files that the space has already.", uploadPackage},
		{"GET", "/v3/packages/{guid}/download", auth.AppWrite, "Download a package's zip.", downloadPackage},
		{"GET", "/v3/apps/{guid}/packages", auth.AppRead, "List an app's packages.", listAppPackages},
	}
}

type checksumJSON struct {
	Type  string  `json:"type"`
	Value *string `json:"value"`
}

func checksumOf(b instance.Blob) checksumJSON { return checksumJSON{"sha256", orNull(b.Digest)} }

type packageJSON struct {
	head
	Type string `json:"type"`
	Data struct {
		Error    *string      `json:"error"`
		Checksum checksumJSON `json:"checksum"`
	} `json:"data"`
	State         string         `json:"state"`
	Relationships map[string]any `json:"relationships"`
	Metadata      metadata       `json:"metadata"`
	Links         links          `json:"links"`
}

func presentPackage(r *request, p cf.Package) any {
	self := r.link("/v3/packages/", p.GUID)
	out := packageJSON{
		head: headOf(p.Resource), Type: p.Type, State: p.State, Metadata: metadataOf(p.Metadata),
		Relationships: map[string]any{"app": toOne(p.AppGUID)},
		Links: links{
			"self":     {Href: self},
			"upload":   {Href: self + "/upload", Method: "POST"},
			"download": {Href: self + "/download", Method: "GET"},
			"app":      {Href: r.link("/v3/apps/", p.AppGUID)},
		},
	}
	out.Data.Error, out.Data.Checksum = orNull(p.Error), checksumOf(p.Blob)
	return out
}

func packageApp(p *cf.Package) string { return p.AppGUID }

func listAppPackages(r *request) (response, error) {
	if _, err := r.app(auth.AppRead); err != nil {
		return response{}, err
	}
	return listPackages(r)
}

func listPackages(r *request) (response, error) {
	return listing[cf.Package]{
		resource: func(p *cf.Package) cf.Resource { return p.Resource },
		metadata: func(p *cf.Package) cf.Metadata { return p.Metadata },
		filters: appFilters(r, packageApp, map[string]func(*cf.Package) string{
			"states": func(p *cf.Package) string { return p.State },
			"types":  func(p *cf.Package) string { return p.Type },
		}),
		present: presentPackage,
	}.serve(r, readable(r, ofApps(r, r.view.PackagesOfApp, r.view.Packages), packageApp))
}

// pack is the path's package and its app, if the user may do action.
func (r *request) pack(action auth.Action) (cf.Package, cf.App, error) {
	p, found := r.view.Package(r.guid())
	if !found {
		return p, cf.App{}, cf.ErrNotFound.With("Package not found")
	}
	a, err := r.appNamed(p.AppGUID, action, "Package")
	return p, a, err
}

func getPackage(r *request) (response, error) {
	p, _, err := r.pack(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	return ok(presentPackage(r, p))
}

// relatedApp is the app that a body's relationships name.
func (r *request) relatedApp(app *relation) (cf.App, error) {
	if app.guid() == "" {
		return cf.App{}, cf.ErrUnprocessable.With("Relationships 'relationships' must include an app")
	}
	a, err := r.appNamed(app.guid(), auth.AppWrite, "App")
	if err != nil && cf.ErrNotFound.Is(err) {
		return a, cf.ErrUnprocessable.With("App is invalid. Ensure it exists and you have access to it.")
	}
	return a, err
}

// appRelation is "relationships" of a body that names an app.
type appRelation struct {
	App *relation `json:"app"`
}

func createPackage(r *request) (response, error) {
	var body struct {
		Type          string          `json:"type"`
		Data          *map[string]any `json:"data"`
		Relationships appRelation     `json:"relationships"`
		Metadata      *metadataBody   `json:"metadata"`
	}
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	a, err := r.relatedApp(body.Relationships.App)
	if err != nil {
		return response{}, err
	}
	meta, err := body.Metadata.fresh()
	if err != nil {
		return response{}, err
	}
	p := cf.Package{Resource: r.resource(), Metadata: meta, AppGUID: a.GUID, Type: "bits", State: cf.PackageAwaitingUpload}
	if source := r.query.Get("source_guid"); source != "" {
		return r.copyPackage(p, a, source)
	}
	switch {
	case body.Type == "docker":
		return response{}, errDocker
	case body.Type != "bits":
		return response{}, cf.ErrUnprocessable.With("Type must be one of 'bits', 'docker'")
	}
	ctx := r.auditApp("audit.app.package.create", a, map[string]any{"package_guid": p.GUID})
	if err := r.store().CreatePackage(ctx, p); err != nil {
		return response{}, err
	}
	r.log(a.GUID, "Creating app package for app with guid %s", a.GUID)
	return created(presentPackage(r, p))
}

func (r *request) copyPackage(p cf.Package, to cf.App, source string) (response, error) {
	from, found := r.view.Package(source)
	if !found {
		return response{}, cf.ErrUnprocessable.With("Source package not found")
	}
	if _, err := r.appNamed(from.AppGUID, auth.AppWrite, "Source package"); err != nil {
		return response{}, err
	}
	if from.State != cf.PackageReady {
		return response{}, cf.ErrUnprocessable.With("The source package is %s: only a package that is READY can be copied", from.State)
	}
	p.State, p.Blob = cf.PackageReady, from.Blob
	ctx := r.auditApp("audit.app.package.create", to, map[string]any{"package_guid": p.GUID, "source_guid": source})
	if err := r.store().CreatePackage(ctx, p); err != nil {
		return response{}, err
	}
	return created(presentPackage(r, p))
}

func updatePackage(r *request) (response, error) {
	p, _, err := r.pack(auth.AppWrite)
	if err != nil {
		return response{}, err
	}
	meta, err := r.metadataOnly()
	if err != nil {
		return response{}, err
	}
	if p, err = r.store().UpdatePackage(r.Context(), state.PackageUpdate{GUID: p.GUID, Metadata: meta, At: r.now}); err != nil {
		return response{}, err
	}
	return ok(presentPackage(r, p))
}

// metadataOnly reads a body that holds only metadata.
func (r *request) metadataOnly() (cf.MetadataPatch, error) {
	var body struct {
		Metadata *metadataBody `json:"metadata"`
	}
	if err := r.decode(&body); err != nil {
		return cf.MetadataPatch{}, err
	}
	return body.Metadata.patch()
}

func deletePackage(r *request) (response, error) {
	p, a, err := r.pack(auth.AppWrite)
	if err != nil {
		return response{}, err
	}
	ctx := r.auditApp("audit.app.package.delete", a, map[string]any{"package_guid": p.GUID})
	if err := r.store().DeletePackage(ctx, state.Target{GUID: p.GUID, At: r.now}); err != nil {
		return response{}, err
	}
	return r.finished("package.delete", p.GUID, nil)
}

// errUploadedOnce is for a package that has its bits.
var errUploadedOnce = cf.ErrBitsInvalid.With("Bits may be uploaded only once. Create a new package to upload different bits.")

func uploadPackage(r *request) (response, error) {
	p, a, err := r.pack(auth.AppWrite)
	if err != nil {
		return response{}, err
	}
	if err := r.requireFlag("app_bits_upload"); err != nil {
		return response{}, err
	}
	if p.State != cf.PackageAwaitingUpload {
		return response{}, errUploadedOnce
	}
	up, err := blob.ReadUpload(r.Context(), r.api.BlobStore, r.Request, r.api.Limits.PackageSize)
	if err != nil {
		return response{}, blob.AsCF(err)
	}
	b, err := r.api.Packages.Add(r.Context(), r.matchScope(a.SpaceGUID), up)
	if err != nil {
		return response{}, blob.AsCF(err)
	}
	ready, now := cf.PackageReady, r.api.Now()
	ctx := r.auditApp("audit.app.package.upload", a, map[string]any{"package_guid": p.GUID})
	p, err = r.store().UpdatePackage(ctx, state.PackageUpdate{
		GUID: p.GUID, State: &ready, Blob: &b, From: cf.PackageAwaitingUpload, At: now,
	})
	if err != nil {
		return response{}, err
	}
	r.log(a.GUID, "Uploaded bits for app with guid %s", a.GUID)
	return ok(presentPackage(r, p))
}

func downloadPackage(r *request) (response, error) {
	p, a, err := r.pack(auth.AppWrite)
	if err != nil {
		return response{}, err
	}
	if p.State != cf.PackageReady {
		return response{}, cf.ErrUnprocessable.With("Package has no bits to download.")
	}
	if err := r.store().RecordEvent(r.Context(), r.event("audit.app.package.download", appParty(a), a.SpaceGUID, map[string]any{"package_guid": p.GUID})); err != nil {
		return response{}, err
	}
	return r.stream(p.Blob, "application/zip", cmp.Or(a.Name, "app")+".zip")
}

// stream answers with a blob.
func (r *request) stream(b instance.Blob, contentType, name string) (response, error) {
	content, size, err := r.api.BlobStore.Open(r.Context(), b.Digest)
	if err != nil {
		return response{}, blob.AsCF(err)
	}
	if size < 0 {
		size = b.Size
	}
	return response{raw: func(w http.ResponseWriter) error {
		defer content.Close()
		return sendBlob(w, content, size, contentType, name)
	}}, nil
}
