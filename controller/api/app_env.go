package api

import (
	"encoding/json"
	"strings"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (a *API) appEnvRoutes() []route {
	return []route{
		{"GET", "/v3/apps/{guid}/env", auth.AppSecrets, "Show everything that an app finds in its environment.", getAppEnv},
		{"GET", "/v3/apps/{guid}/environment_variables", auth.AppSecrets, "Show an app's own variables.", getAppVariables},
		{"PATCH", "/v3/apps/{guid}/environment_variables", auth.AppWrite, "Change an app's own variables.", updateAppVariables},
	}
}

// maxEnv bounds an app's own environment, sealed, in bytes: every process
// version, task and revision keeps a copy of its own.
const maxEnv = 128 << 10

// envBody is variables of a body: null removes one. What is no string becomes
// one.
type envBody map[string]*string

// UnmarshalJSON implements json.Unmarshaler.
func (e *envBody) UnmarshalJSON(data []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return cf.ErrUnprocessable.With("Environment variables must be an object")
	}
	*e = envBody{}
	for name, value := range raw {
		var text string
		switch {
		case string(value) == "null":
			(*e)[name] = nil
			continue
		case json.Unmarshal(value, &text) != nil:
			text = string(value)
		}
		(*e)[name] = &text
	}
	return nil
}

func (e envBody) problems() problems {
	var p problems
	for _, name := range sortedKeys(e) {
		p = append(p, variableProblems(name)...)
		p.check(e[name] == nil || !strings.Contains(*e[name], "\x00"), "Environment variable '"+cut(name)+"' must not contain a NUL byte")
	}
	return p
}

func variableProblems(name string) problems {
	var p problems
	p.check(name != "", "Environment variables key must be a minimum length of 1")
	p.check(!strings.HasPrefix(strings.ToUpper(name), "VCAP_"), "Environment variables cannot start with VCAP_")
	p.check(strings.ToUpper(name) != "PORT", "Environment variables cannot set PORT")
	p.check(!strings.ContainsAny(name, "=\x00"), "Environment variables key '"+cut(name)+"' must not contain '='")
	return p
}

// sealEnv checks variables and seals them for an app. Values that the app has
// already keep their sealed form, so that nothing looks changed.
func (r *request) sealEnv(a cf.App, env envBody) (cf.SecretMap, error) {
	if len(env) == 0 {
		return nil, nil
	}
	if err := env.problems().err(); err != nil {
		return nil, err
	}
	old, err := state.OpenEnv(r.api.Sealer, a.GUID, a.Env)
	if err != nil {
		return nil, err
	}
	changed := map[string]*string{}
	for name, value := range env {
		if was, had := old[name]; value == nil && !had || value != nil && had && was == *value {
			continue
		}
		changed[name] = value
	}
	patch, err := state.SealEnv(r.api.Sealer, a.GUID, changed)
	if err != nil {
		return nil, err
	}
	size := 0
	for name, sealed := range a.Env.Patched(patch) {
		size += len(name) + len(sealed)
	}
	if size > maxEnv {
		return nil, cf.ErrUnprocessable.With("The app's environment variables would have %d bytes, %d are allowed", size, maxEnv)
	}
	return patch, nil
}

func presentVariables(r *request, path string, app cf.App, vars map[string]string) any {
	return map[string]any{"var": vars, "links": links{
		"self": {Href: r.link(path)}, "app": {Href: r.link("/v3/apps/", app.GUID)},
	}}
}

func getAppVariables(r *request) (response, error) {
	a, err := r.app(auth.AppSecrets)
	if err != nil {
		return response{}, err
	}
	vars, err := state.OpenEnv(r.api.Sealer, a.GUID, a.Env)
	if err != nil {
		return response{}, err
	}
	return ok(presentVariables(r, "/v3/apps/"+a.GUID+"/environment_variables", a, vars))
}

func updateAppVariables(r *request) (response, error) {
	a, err := r.app(auth.AppWrite)
	if err != nil {
		return response{}, err
	}
	var body struct {
		Var envBody `json:"var"`
	}
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	patch, err := r.sealEnv(a, body.Var)
	if err != nil {
		return response{}, err
	}
	ctx := r.auditApp("audit.app.update", a, map[string]any{"request": map[string]any{"environment_variables": "[PRIVATE DATA HIDDEN]"}})
	if a, err = r.store().UpdateApp(ctx, state.AppUpdate{GUID: a.GUID, Env: patch, At: r.now}); err != nil {
		return response{}, err
	}
	r.log(a.GUID, "Updated app with guid %s (environment variables)", a.GUID)
	vars, err := state.OpenEnv(r.api.Sealer, a.GUID, a.Env)
	if err != nil {
		return response{}, err
	}
	return ok(presentVariables(r, "/v3/apps/"+a.GUID+"/environment_variables", a, vars))
}

func getAppEnv(r *request) (response, error) {
	a, err := r.app(auth.AppSecrets)
	if err != nil {
		return response{}, err
	}
	vars, err := state.OpenEnv(r.api.Sealer, a.GUID, a.Env)
	if err != nil {
		return response{}, err
	}
	services, err := cf.VCAPServices(r.view.BoundServices(a.GUID), func(b cf.BoundService) ([]byte, error) {
		return state.OpenCredentials(r.api.Sealer, b.InstanceGUID, b.Credentials)
	})
	if err != nil {
		return response{}, err
	}
	space, _ := r.view.Space(a.SpaceGUID)
	org, _ := r.view.Organization(space.OrgGUID)
	return ok(map[string]any{
		"staging_env_json":      r.view.EnvGroup(cf.EnvStaging).Var,
		"running_env_json":      r.view.EnvGroup(cf.EnvRunning).Var,
		"environment_variables": vars,
		"system_env_json":       map[string]any{"VCAP_SERVICES": services},
		"application_env_json": map[string]any{
			"VCAP_APPLICATION": cf.NewVCAPApplication(r.api.ExternalURL, a, space, org, r.urisOfApp(a.GUID)),
		},
	})
}

// urisOfApp are the addresses of an app's routes, without scheme.
func (r *request) urisOfApp(appGUID string) []string {
	uris := []string{}
	for _, d := range r.view.DestinationsOfApp(appGUID) {
		rt, found := r.view.Route(d.RouteGUID)
		domain, known := r.view.Domain(rt.DomainGUID)
		if found && known {
			uris = append(uris, rt.URL(domain.Name))
		}
	}
	return uris
}
