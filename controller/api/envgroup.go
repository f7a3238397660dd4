package api

import (
	"regexp"
	"strings"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

func (a *API) envGroupRoutes() []route {
	return []route{
		{"GET", "/v3/environment_variable_groups/{name}", auth.SignedIn, "Show the variables of all apps: running or staging.", getEnvGroup},
		{"PATCH", "/v3/environment_variable_groups/{name}", auth.GlobalWrite, "Change variables of all apps.", updateEnvGroup},
	}
}

func presentEnvGroup(r *request, g cf.EnvGroup) any {
	vars := g.Var
	if vars == nil {
		vars = map[string]string{}
	}
	var updated *string
	if !g.UpdatedAt.IsZero() {
		updated = orNull(stamp(g.UpdatedAt))
	}
	return map[string]any{
		"name": g.Name, "var": vars, "updated_at": updated,
		"links": links{"self": {Href: r.link("/v3/environment_variable_groups/", g.Name)}},
	}
}

func (r *request) envGroup() (cf.EnvGroup, error) {
	name := r.PathValue("name")
	if name != cf.EnvRunning && name != cf.EnvStaging {
		return cf.EnvGroup{}, cf.ErrNotFound.With("Environment variable group not found")
	}
	return r.view.EnvGroup(name), nil
}

func getEnvGroup(r *request) (response, error) {
	g, err := r.envGroup()
	if err != nil {
		return response{}, err
	}
	return ok(presentEnvGroup(r, g))
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

func updateEnvGroup(r *request) (response, error) {
	g, err := r.envGroup()
	if err != nil {
		return response{}, err
	}
	if err := r.requireAdmin(); err != nil {
		return response{}, err
	}
	var body struct {
		Var map[string]*string `json:"var"`
	}
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	var p problems
	p.check(body.Var != nil, "Var must be a hash")
	for _, name := range sortedKeys(body.Var) {
		p.check(envName.MatchString(name), "Var '"+cut(name)+"' is no name of a variable")
		p.check(!strings.HasPrefix(name, "VCAP_") && !strings.HasPrefix(name, "vmc_") && name != "PORT", "Var '"+cut(name)+"' is set by the platform")
	}
	if err := p.err(); err != nil {
		return response{}, err
	}
	event := "audit.environment_variable_group.update"
	ctx := r.audit(event, cf.EventParty{GUID: g.Name, Type: "environment_variable_group", Name: g.Name}, "", "", map[string]any{"names": sortedKeys(body.Var)})
	g, err = r.store().UpdateEnvGroup(ctx, state.EnvGroupUpdate{Name: g.Name, Var: body.Var, At: r.now})
	if err != nil {
		return response{}, err
	}
	return ok(presentEnvGroup(r, g))
}
