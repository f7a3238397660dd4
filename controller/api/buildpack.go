package api

import (
	"regexp"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (a *API) buildpackRoutes() []route {
	return []route{
		{"POST", "/v3/buildpacks", auth.GlobalWrite, "Create a buildpack; its bits follow.", createBuildpack},
		{"GET", "/v3/buildpacks", auth.SignedIn, "List buildpacks in the order of detection.", listBuildpacks},
		{"GET", "/v3/buildpacks/{guid}", auth.SignedIn, "Show a buildpack.", getBuildpack},
		{"PATCH", "/v3/buildpacks/{guid}", auth.GlobalWrite, "Change a buildpack.", updateBuildpack},
		{"DELETE", "/v3/buildpacks/{guid}", auth.GlobalWrite, "Delete a buildpack (job).", deleteBuildpack},
		{"POST", "/v3/buildpacks/{guid}/upload", auth.GlobalWrite, "Upload the zip of a buildpack (job).", uploadBuildpack},
	}
}

type buildpackJSON struct {
	head
	Name      string   `json:"name"`
	Stack     *string  `json:"stack"`
	State     string   `json:"state"`
	Filename  *string  `json:"filename"`
	Position  int      `json:"position"`
	Enabled   bool     `json:"enabled"`
	Locked    bool     `json:"locked"`
	Lifecycle string   `json:"lifecycle"`
	Metadata  metadata `json:"metadata"`
	Links     links    `json:"links"`
}

func presentBuildpack(r *request, b cf.Buildpack) any {
	self := r.link("/v3/buildpacks/", b.GUID)
	out := buildpackJSON{
		head: headOf(b.Resource), Name: b.Name, Stack: orNull(b.Stack), State: "AWAITING_UPLOAD", Filename: orNull(b.Filename),
		Position: b.Position, Enabled: b.Enabled, Locked: b.Locked, Lifecycle: "buildpack", Metadata: metadataOf(b.Metadata),
		Links: links{"self": {Href: self}, "upload": {Href: self + "/upload", Method: "POST"}},
	}
	if b.Ready() {
		out.State = "READY"
	}
	return out
}

func buildpackParty(b cf.Buildpack) cf.EventParty {
	return cf.EventParty{GUID: b.GUID, Type: "buildpack", Name: b.Name}
}

func listBuildpacks(r *request) (response, error) {
	byPosition := func(a, b *cf.Buildpack) int { return a.Position - b.Position }
	l := listing[cf.Buildpack]{
		resource: func(b *cf.Buildpack) cf.Resource { return b.Resource },
		metadata: func(b *cf.Buildpack) cf.Metadata { return b.Metadata },
		filters: map[string]func(*cf.Buildpack) string{
			"names":     func(b *cf.Buildpack) string { return b.Name },
			"stacks":    func(b *cf.Buildpack) string { return b.Stack },
			"lifecycle": func(*cf.Buildpack) string { return "buildpack" },
		},
		order:   byPosition,
		orders:  map[string]func(a, b *cf.Buildpack) int{"position": byPosition},
		present: func(r *request, b cf.Buildpack) any { return presentBuildpack(r, b) },
	}
	return l.serve(r, where(r.view.Buildpacks(), func(*cf.Buildpack) bool { return true }))
}

func (r *request) buildpack() (cf.Buildpack, error) {
	b, found := r.view.Buildpack(r.guid())
	if !found {
		return b, cf.ErrNotFound.With("Buildpack not found")
	}
	return b, nil
}

// writableBuildpack is the path's buildpack, for administrators.
func (r *request) writableBuildpack() (cf.Buildpack, error) {
	b, err := r.buildpack()
	if err == nil {
		err = r.requireAdmin()
	}
	return b, err
}

func getBuildpack(r *request) (response, error) {
	b, err := r.buildpack()
	if err != nil {
		return response{}, err
	}
	return ok(presentBuildpack(r, b))
}

type buildpackBody struct {
	Name      *string       `json:"name"`
	Stack     *string       `json:"stack"`
	Position  *int          `json:"position"`
	Enabled   *bool         `json:"enabled"`
	Locked    *bool         `json:"locked"`
	Lifecycle *string       `json:"lifecycle"`
	Metadata  *metadataBody `json:"metadata"`
}

var buildpackName = regexp.MustCompile(`^[-\w]+$`)

func (b buildpackBody) check() error {
	var p problems
	if b.Name != nil {
		p.check(buildpackName.MatchString(*b.Name), "Name can only contain alphanumeric characters, underscores, and hyphens")
		p.check(len(*b.Name) <= 250, "Name is too long (maximum is 250 characters)")
	}
	p.check(b.Position == nil || *b.Position >= 1, "Position must be greater than or equal to 1")
	p.check(b.Lifecycle == nil || *b.Lifecycle == "buildpack", "Lifecycle must be 'buildpack': Cloud Native Buildpacks are not there yet")
	return p.err()
}

func createBuildpack(r *request) (response, error) {
	if err := r.requireAdmin(); err != nil {
		return response{}, err
	}
	var body buildpackBody
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	if body.Name == nil {
		return response{}, cf.ErrUnprocessable.With("Name must be a string, Name can't be blank")
	}
	if err := body.check(); err != nil {
		return response{}, err
	}
	labels, err := body.Metadata.fresh()
	if err != nil {
		return response{}, err
	}
	b := cf.Buildpack{
		Resource: r.resource(), Metadata: labels, Name: *body.Name, Stack: deref(body.Stack, ""),
		Position: deref(body.Position, 1), Enabled: deref(body.Enabled, true), Locked: deref(body.Locked, false),
	}
	b, err = r.store().CreateBuildpack(r.audit("audit.buildpack.create", buildpackParty(b), "", "", nil), b)
	if err != nil {
		return response{}, err
	}
	return created(presentBuildpack(r, b))
}

func updateBuildpack(r *request) (response, error) {
	b, err := r.writableBuildpack()
	if err != nil {
		return response{}, err
	}
	var body buildpackBody
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	if err := body.check(); err != nil {
		return response{}, err
	}
	patch, err := body.Metadata.patch()
	if err != nil {
		return response{}, err
	}
	b, err = r.store().UpdateBuildpack(r.audit("audit.buildpack.update", buildpackParty(b), "", "", nil), state.BuildpackUpdate{
		GUID: b.GUID, Name: body.Name, Stack: body.Stack, Position: body.Position,
		Enabled: body.Enabled, Locked: body.Locked, Metadata: patch, At: r.now,
	})
	if err != nil {
		return response{}, err
	}
	return ok(presentBuildpack(r, b))
}

func deleteBuildpack(r *request) (response, error) {
	b, err := r.writableBuildpack()
	if err != nil {
		return response{}, err
	}
	ctx := r.audit("audit.buildpack.delete", buildpackParty(b), "", "", nil)
	if err := r.store().DeleteBuildpack(ctx, state.Target{GUID: b.GUID, At: r.now}); err != nil {
		return response{}, err
	}
	return r.finished("buildpack.delete", b.GUID, nil)
}
