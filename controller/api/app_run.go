package api

import (
	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (a *API) appRunRoutes() []route {
	return []route{
		{"POST", "/v3/apps/{guid}/actions/start", auth.AppManage, "Start an app with its current droplet.", startApp},
		{"POST", "/v3/apps/{guid}/actions/stop", auth.AppManage, "Stop an app.", stopApp},
		{"POST", "/v3/apps/{guid}/actions/restart", auth.AppManage, "Restart an app with its current droplet.", restartApp},
		{"GET", "/v3/apps/{guid}/permissions", auth.AppRead, "Show whether the user may see an app's secrets.", getAppPermissions},
		{"GET", "/v3/apps/{guid}/ssh_enabled", auth.AppRead, "Show whether ssh into an app is possible.", getSSHEnabled},
		{"GET", "/v3/apps/{guid}/features", auth.AppRead, "List an app's features.", listAppFeatures},
		{"GET", "/v3/apps/{guid}/features/{name}", auth.AppRead, "Show a feature of an app.", getAppFeature},
		{"PATCH", "/v3/apps/{guid}/features/{name}", auth.AppWrite, "Switch a feature of an app.", updateAppFeature},
	}
}

func startApp(r *request) (response, error)   { return r.start("start", false, "Starting") }
func restartApp(r *request) (response, error) { return r.start("restart", true, "Restarting") }

func (r *request) start(event string, restart bool, doing string) (response, error) {
	a, err := r.app(auth.AppManage)
	if err != nil {
		return response{}, err
	}
	r.log(a.GUID, "%s app with guid %s", doing, a.GUID)
	ctx := r.auditApp("audit.app."+event, a, nil)
	a, err = r.store().StartApp(ctx, state.AppStart{
		GUID: a.GUID, Restart: restart, Version: r.api.NewGUID(), RevisionGUID: r.api.NewGUID(), At: r.now,
	})
	if err != nil {
		return response{}, err
	}
	return ok(presentApp(r, a))
}

func stopApp(r *request) (response, error) {
	a, err := r.app(auth.AppManage)
	if err != nil {
		return response{}, err
	}
	r.log(a.GUID, "Stopping app with guid %s", a.GUID)
	ctx := r.auditApp("audit.app.stop", a, nil)
	if a, err = r.store().StopApp(ctx, state.Target{GUID: a.GUID, At: r.now}); err != nil {
		return response{}, err
	}
	return ok(presentApp(r, a))
}

func getAppPermissions(r *request) (response, error) {
	a, err := r.app(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	org := r.orgOfSpace(a.SpaceGUID)
	return ok(map[string]bool{
		"read_basic_data":     true,
		"read_sensitive_data": r.can.Can(auth.AppSecrets, org, a.SpaceGUID),
	})
}

func getSSHEnabled(r *request) (response, error) {
	a, err := r.app(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	space, _ := r.view.Space(a.SpaceGUID)
	reason := ""
	switch {
	case r.api.Links.AppSSH == "":
		reason = "Disabled globally"
	case space.SSHOff:
		reason = "Disabled for space"
	case a.SSHOff:
		reason = "Disabled for app"
	}
	return ok(map[string]any{"enabled": reason == "", "reason": reason})
}

// appFeature is a switch of an app.
type appFeature struct {
	name, description string
	enabled           func(cf.App) bool
	set               func(u *state.AppUpdate, on bool)
}

var appFeatures = []appFeature{
	{
		"ssh", "Enable SSHing into the app.", func(a cf.App) bool { return !a.SSHOff },
		func(u *state.AppUpdate, on bool) { off := !on; u.SSHOff = &off },
	},
	{
		"revisions", "Enable versioning of an application", func(a cf.App) bool { return !a.RevisionsOff },
		func(u *state.AppUpdate, on bool) { off := !on; u.RevisionsOff = &off },
	},
}

type appFeatureJSON struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Enabled     bool   `json:"enabled"`
}

func (f appFeature) present(a cf.App) appFeatureJSON {
	return appFeatureJSON{f.name, f.description, f.enabled(a)}
}

func listAppFeatures(r *request) (response, error) {
	a, err := r.app(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	out := page{Pagination: paginate(r, len(appFeatures), 1, 50), Resources: []any{}}
	for _, f := range appFeatures {
		out.Resources = append(out.Resources, f.present(a))
	}
	return ok(out)
}

// feature is the path's app and feature.
func (r *request) feature(action auth.Action) (cf.App, appFeature, error) {
	a, err := r.app(action)
	if err != nil {
		return a, appFeature{}, err
	}
	for _, f := range appFeatures {
		if f.name == r.PathValue("name") {
			return a, f, nil
		}
	}
	return a, appFeature{}, cf.ErrNotFound.With("Feature not found")
}

func getAppFeature(r *request) (response, error) {
	a, f, err := r.feature(auth.AppRead)
	if err != nil {
		return response{}, err
	}
	return ok(f.present(a))
}

func updateAppFeature(r *request) (response, error) {
	a, f, err := r.feature(auth.AppWrite)
	if err != nil {
		return response{}, err
	}
	var body struct {
		Enabled *bool `json:"enabled"`
	}
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	if body.Enabled == nil {
		return response{}, cf.ErrUnprocessable.With("Enabled must be a boolean")
	}
	u := state.AppUpdate{GUID: a.GUID, At: r.now}
	f.set(&u, *body.Enabled)
	if a, err = r.store().UpdateApp(r.Context(), u); err != nil {
		return response{}, err
	}
	return ok(f.present(a))
}
