package api

import (
	"net/http"
	"slices"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
)

func (a *API) featureFlagRoutes() []route {
	return []route{
		{"GET", "/v3/feature_flags", auth.SignedIn, "List feature flags.", listFeatureFlags},
		{"GET", "/v3/feature_flags/{name}", auth.SignedIn, "Show a feature flag.", getFeatureFlag},
		{"PATCH", "/v3/feature_flags/{name}", auth.GlobalWrite, "Change a feature flag.", updateFeatureFlag},
	}
}

type featureFlagJSON struct {
	Name               string  `json:"name"`
	Enabled            bool    `json:"enabled"`
	UpdatedAt          *string `json:"updated_at"`
	CustomErrorMessage *string `json:"custom_error_message"`
	Links              links   `json:"links"`
}

func presentFeatureFlag(r *request, f cf.FeatureFlag) featureFlagJSON {
	out := featureFlagJSON{
		Name: f.Name, Enabled: f.Enabled, CustomErrorMessage: orNull(f.Message),
		Links: links{"self": {Href: r.link("/v3/feature_flags/", f.Name)}},
	}
	if !f.UpdatedAt.IsZero() {
		out.UpdatedAt = orNull(stamp(f.UpdatedAt))
	}
	return out
}

func listFeatureFlags(r *request) (response, error) {
	number, size, err := pageOf(r.query)
	if err != nil {
		return response{}, err
	}
	total := len(cf.FeatureFlags)
	out := page{Pagination: paginate(r, total, number, size), Resources: []any{}}
	from := min((number-1)*size, total)
	for _, d := range cf.FeatureFlags[from:min(from+size, total)] {
		f, _ := r.view.FeatureFlag(d.Name)
		out.Resources = append(out.Resources, presentFeatureFlag(r, f))
	}
	return ok(out)
}

func (r *request) featureFlag() (cf.FeatureFlag, error) {
	f, found := r.view.FeatureFlag(r.PathValue("name"))
	if !found {
		return f, cf.ErrNotFound.With("Feature flag not found")
	}
	return f, nil
}

func getFeatureFlag(r *request) (response, error) {
	f, err := r.featureFlag()
	if err != nil {
		return response{}, err
	}
	return ok(presentFeatureFlag(r, f))
}

// idleFlags switch what is not there yet.
var idleFlags = []string{
	"diego_cnb", "diego_docker", "hide_marketplace_from_unauthenticated_users", "service_instance_sharing", "space_scoped_private_broker_creation",
}

func updateFeatureFlag(r *request) (response, error) {
	f, err := r.featureFlag()
	if err != nil {
		return response{}, err
	}
	if err := r.requireAdmin(); err != nil {
		return response{}, err
	}
	var body struct {
		Enabled            *bool   `json:"enabled"`
		CustomErrorMessage *string `json:"custom_error_message"`
	}
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	f.Enabled, f.Message, f.UpdatedAt = deref(body.Enabled, f.Enabled), deref(body.CustomErrorMessage, f.Message), r.now
	if len(f.Message) > 250 {
		return response{}, cf.ErrUnprocessable.With("Custom error message is too long (maximum is 250 characters)")
	}
	if slices.Contains(idleFlags, f.Name) && f.Enabled {
		r.warn("The flag " + f.Name + " changes nothing: what it switches is not there yet.")
	}
	ctx := r.audit("audit.feature_flag.update", cf.EventParty{GUID: f.Name, Type: "feature_flag", Name: f.Name}, "", "", body)
	if err := r.store().PutFeatureFlag(ctx, f); err != nil {
		return response{}, err
	}
	return ok(presentFeatureFlag(r, f))
}

// requireFlag returns 403 if a feature is switched off, except for
// administrators.
func (r *request) requireFlag(name string) error {
	f, found := r.view.FeatureFlag(name)
	if !found || f.Enabled || r.can.Admin() {
		return nil
	}
	return featureDisabled(f)
}

func featureDisabled(f cf.FeatureFlag) error {
	detail := "Feature Disabled: " + f.Name
	if f.Message != "" {
		detail = "Feature Disabled: " + f.Message
	}
	return &cf.Error{Status: http.StatusForbidden, Code: 330002, Title: "CF-FeatureDisabled", Detail: detail}
}
