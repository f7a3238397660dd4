package api

import (
	"iter"
	"slices"
	"strings"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (a *API) appsRoutes() []route {
	return []route{
		{"POST", "/v3/apps", auth.AppWrite, "Create an app.", createApp},
		{"GET", "/v3/apps", auth.AppRead, "List apps.", listApps},
		{"GET", "/v3/apps/{guid}", auth.AppRead, "Show an app.", getApp},
		{"PATCH", "/v3/apps/{guid}", auth.AppWrite, "Change an app.", updateApp},
		{"DELETE", "/v3/apps/{guid}", auth.AppWrite, "Delete an app, but not its routes (job).", deleteApp},
	}
}

type appJSON struct {
	head
	Name          string        `json:"name"`
	State         string        `json:"state"`
	Lifecycle     lifecycleJSON `json:"lifecycle"`
	Relationships struct {
		Space          relation `json:"space"`
		CurrentDroplet relation `json:"current_droplet"`
	} `json:"relationships"`
	Metadata metadata `json:"metadata"`
	Links    appLinks `json:"links"`
}

// appLinks is links with the fields in their order as keys: lists of apps are
// long, and a map costs more than the rest of the app.
type appLinks struct {
	CurrentDroplet       link `json:"current_droplet"`
	DeployedRevisions    link `json:"deployed_revisions"`
	Droplets             link `json:"droplets"`
	EnvironmentVariables link `json:"environment_variables"`
	Features             link `json:"features"`
	Packages             link `json:"packages"`
	Processes            link `json:"processes"`
	Revisions            link `json:"revisions"`
	Self                 link `json:"self"`
	Space                link `json:"space"`
	Start                link `json:"start"`
	Stop                 link `json:"stop"`
	Tasks                link `json:"tasks"`
}

type lifecycleJSON struct {
	Type string            `json:"type"`
	Data lifecycleDataJSON `json:"data"`
}

type lifecycleDataJSON struct {
	Buildpacks []string `json:"buildpacks"`
	Stack      string   `json:"stack"`
}

func lifecycleOf(buildpacks []string, stack string) lifecycleJSON {
	if buildpacks == nil {
		buildpacks = []string{}
	}
	return lifecycleJSON{"buildpack", lifecycleDataJSON{buildpacks, stack}}
}

func presentApp(r *request, a cf.App) any {
	self := r.link("/v3/apps/", a.GUID)
	out := appJSON{
		head: headOf(a.Resource), Name: a.Name, State: a.State,
		Lifecycle: lifecycleOf(a.Buildpacks, a.Stack), Metadata: metadataOf(a.Metadata),
		Links: appLinks{
			Self:                 link{Href: self},
			EnvironmentVariables: link{Href: self + "/environment_variables"},
			Space:                link{Href: r.link("/v3/spaces/", a.SpaceGUID)},
			Processes:            link{Href: self + "/processes"},
			Packages:             link{Href: self + "/packages"},
			CurrentDroplet:       link{Href: self + "/droplets/current"},
			Droplets:             link{Href: self + "/droplets"},
			Tasks:                link{Href: self + "/tasks"},
			Start:                link{Href: self + "/actions/start", Method: "POST"},
			Stop:                 link{Href: self + "/actions/stop", Method: "POST"},
			Revisions:            link{Href: self + "/revisions"},
			DeployedRevisions:    link{Href: self + "/revisions/deployed"},
			Features:             link{Href: self + "/features"},
		},
	}
	out.Relationships.Space = toOne(a.SpaceGUID)
	out.Relationships.CurrentDroplet = toOne(a.DropletGUID)
	return out
}

func listApps(r *request) (response, error) {
	l := listing[cf.App]{
		resource: func(a *cf.App) cf.Resource { return a.Resource },
		metadata: func(a *cf.App) cf.Metadata { return a.Metadata },
		filters: map[string]func(*cf.App) string{
			"names":              func(a *cf.App) string { return a.Name },
			"space_guids":        func(a *cf.App) string { return a.SpaceGUID },
			"organization_guids": func(a *cf.App) string { return r.orgOfSpace(a.SpaceGUID) },
			"stacks":             func(a *cf.App) string { return a.Stack },
		},
		params: []string{"lifecycle_type"},
		orders: map[string]func(a, b *cf.App) int{
			"name":  func(a, b *cf.App) int { return strings.Compare(a.Name, b.Name) },
			"state": func(a, b *cf.App) int { return strings.Compare(a.State, b.State) },
		},
		includes: []string{"space", "space.organization", "org"},
		included: func(r *request, what map[string]bool, rows []cf.App) map[string]any {
			var spaces []string
			for _, a := range rows {
				spaces = append(spaces, a.SpaceGUID)
			}
			return r.includedSpacesOf(what["space"] || what["space.organization"], what["space.organization"] || what["org"], spaces)
		},
		present: presentApp,
	}
	if r.query.Has("lifecycle_type") && r.query.Get("lifecycle_type") != "buildpack" {
		return l.serveByCreation(r, nil)
	}
	if r.can.Everywhere(auth.AppRead) && !r.query.Has("space_guids") {
		return l.serveByCreation(r, r.view.AppsByCreation())
	}
	return l.serveRefs(r, r.appsOfSpaces())
}

// appsOfSpaces are the apps that the user may read, of the spaces that the
// query names or else of all, found without looking at those of other spaces.
func (r *request) appsOfSpaces() iter.Seq[*cf.App] {
	may := r.spacesWith(auth.AppRead)
	return func(yield func(*cf.App) bool) {
		var spaces []string
		if r.query.Has("space_guids") {
			spaces = list(r.query.Get("space_guids"))
		} else {
			for _, space := range r.view.Spaces() {
				spaces = append(spaces, space.GUID)
			}
		}
		done := map[string]bool{}
		for _, space := range spaces {
			if space == "" || done[space] || !may(space) {
				continue
			}
			done[space] = true
			for a := range r.view.EachApp(space) {
				if !yield(a) {
					return
				}
			}
		}
	}
}

func getApp(r *request) (response, error) {
	a, err := r.app(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	what, err := r.include("space", "space.organization", "org")
	if err != nil || len(what) == 0 {
		return response{body: presentApp(r, a)}, err
	}
	return ok(struct {
		appJSON
		Included map[string]any `json:"included"`
	}{presentApp(r, a).(appJSON), r.includedSpacesOf(
		what["space"] || what["space.organization"], what["space.organization"] || what["org"], []string{a.SpaceGUID})})
}

// lifecycleBody is "lifecycle" of a body.
type lifecycleBody struct {
	Type string `json:"type"`
	Data struct {
		Buildpacks *[]string `json:"buildpacks"`
		Stack      *string   `json:"stack"`
		// Credentials are for registries of buildpacks: not there.
		Credentials map[string]any `json:"credentials"`
	} `json:"data"`
}

// errDocker refuses what needs container images of others.
var errDocker = cf.ErrUnprocessable.With("Docker images and Cloud Native Buildpacks are not supported yet. Push the app's source: it is staged with a buildpack.")

// check refuses what is not there; nil is the default.
func (l *lifecycleBody) check(r *request) error {
	if l == nil {
		return nil
	}
	if l.Type != "" && l.Type != "buildpack" {
		return errDocker
	}
	var p problems
	p.check(len(l.Data.Credentials) == 0, "Lifecycle credentials are not supported")
	if l.Data.Stack != nil {
		p = append(p, r.stackProblems(*l.Data.Stack)...)
	}
	if l.Data.Buildpacks != nil {
		p = append(p, r.buildpackProblems(*l.Data.Buildpacks)...)
	}
	return p.err()
}

// stackProblems says which stacks there are.
func (r *request) stackProblems(name string) problems {
	if _, known := r.view.StackByName(name); known {
		return nil
	}
	var names []string
	for _, s := range r.view.Stacks() {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return problems{"Stack must be an existing stack: '" + strings.Join(names, "', '") + "'"}
}

// buildpackProblems checks that buildpacks are known by name or are https git
// addresses.
func (r *request) buildpackProblems(names []string) problems {
	var p problems
	p.check(len(names) <= 20, "Buildpacks can be at most 20")
	for _, name := range names {
		url := strings.HasPrefix(name, "https://") && len(name) < 2000 && !strings.ContainsAny(name, " \t\r\n\x00")
		if !url && !r.hasBuildpack(name) {
			p = append(p, `Buildpack "`+cut(name)+`" must be an existing admin buildpack or a valid git URI`)
		}
	}
	return p
}

func (r *request) hasBuildpack(name string) bool {
	for _, b := range r.view.Buildpacks() {
		if b.Name == name {
			return true
		}
	}
	return false
}

func nameProblems(name string) problems {
	var p problems
	p.check(name != "", "Name can't be blank")
	p.check(len(name) <= 255, "Name is too long (maximum is 255 characters)")
	p.check(!strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f }), "Name must be printable")
	return p
}

func createApp(r *request) (response, error) {
	var body struct {
		Name                 string         `json:"name"`
		EnvironmentVariables envBody        `json:"environment_variables"`
		Lifecycle            *lifecycleBody `json:"lifecycle"`
		Metadata             *metadataBody  `json:"metadata"`
		Relationships        struct {
			Space *relation `json:"space"`
		} `json:"relationships"`
	}
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	p := nameProblems(body.Name)
	p.check(body.Relationships.Space.guid() != "", "Relationships 'relationships' must include one or more valid relationships")
	if err := p.err(); err != nil {
		return response{}, err
	}
	if err := body.Lifecycle.check(r); err != nil {
		return response{}, err
	}
	space, found := r.view.Space(body.Relationships.Space.guid())
	if !found || !r.can.Can(auth.SpaceRead, space.OrgGUID, space.GUID) {
		return response{}, cf.ErrUnprocessable.With("Invalid space. Ensure that the space exists and you have access to it.")
	}
	if err := r.inSpace(space.GUID, auth.SpaceRead, auth.AppWrite, "Space"); err != nil {
		return response{}, err
	}
	meta, err := body.Metadata.fresh()
	if err != nil {
		return response{}, err
	}
	c := r.newApp(space.GUID, body.Name)
	c.App.Metadata = meta
	if l := body.Lifecycle; l != nil {
		c.App.Buildpacks = deref(l.Data.Buildpacks, nil)
	}
	patch, err := r.sealEnv(c.App, body.EnvironmentVariables)
	if err != nil {
		return response{}, err
	}
	c.App.Env = c.App.Env.Patched(patch)
	ctx := r.audit("audit.app.create", appParty(c.App), space.OrgGUID, space.GUID, map[string]any{"request": map[string]any{"name": c.App.Name}})
	if err := r.store().CreateApp(ctx, c); err != nil {
		return response{}, err
	}
	r.log(c.App.GUID, "Created app with guid %s", c.App.GUID)
	return created(presentApp(r, c.App))
}

// newApp is a stopped app with its web process.
func (r *request) newApp(spaceGUID, name string) state.AppCreation {
	a := cf.App{Resource: r.resource(), Name: name, SpaceGUID: spaceGUID, State: cf.AppStopped, Stack: r.api.Stack}
	return state.AppCreation{App: a, Web: r.newProcess(a.GUID, cf.ProcessWeb)}
}

func updateApp(r *request) (response, error) {
	a, err := r.app(auth.AppWrite)
	if err != nil {
		return response{}, err
	}
	var body struct {
		Name          *string        `json:"name"`
		Lifecycle     *lifecycleBody `json:"lifecycle"`
		Metadata      *metadataBody  `json:"metadata"`
		PlacementZone *string        `json:"placement_zone"` // Stackato's own
	}
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	var p problems
	if body.Name != nil {
		p = nameProblems(*body.Name)
	}
	if body.PlacementZone != nil {
		p = append(p, zoneProblems(*body.PlacementZone)...)
	}
	if err := p.err(); err != nil {
		return response{}, err
	}
	if err := body.Lifecycle.check(r); err != nil {
		return response{}, err
	}
	u := state.AppUpdate{GUID: a.GUID, Name: body.Name, PlacementZone: body.PlacementZone, At: r.now}
	if l := body.Lifecycle; l != nil {
		u.Buildpacks, u.Stack = l.Data.Buildpacks, l.Data.Stack
	}
	if u.Metadata, err = body.Metadata.patch(); err != nil {
		return response{}, err
	}
	ctx := r.auditApp("audit.app.update", a, map[string]any{"request": map[string]any{"name": body.Name}})
	if a, err = r.store().UpdateApp(ctx, u); err != nil {
		return response{}, err
	}
	r.log(a.GUID, "Updated app with guid %s", a.GUID)
	return ok(presentApp(r, a))
}

func zoneProblems(zone string) problems {
	var p problems
	p.check(zone == "" || len(zone) <= 63 && labelName.MatchString(zone), "Placement zone must be at most 63 letters, digits, '-', '_' or '.'")
	return p
}

func deleteApp(r *request) (response, error) {
	a, err := r.app(auth.AppWrite)
	if err != nil {
		return response{}, err
	}
	ctx := r.auditApp("audit.app.delete-request", a, nil)
	if err := r.store().DeleteApp(ctx, state.Target{GUID: a.GUID, At: r.now}); err != nil {
		return response{}, err
	}
	r.log(a.GUID, "Deleted app with guid %s", a.GUID)
	return r.finished("app.delete", a.GUID, nil)
}
