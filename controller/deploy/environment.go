package deploy

import (
	"encoding/json"
	"maps"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

// Owner is an app with what it belongs to.
type Owner struct {
	App   cf.App
	Space cf.Space
	Org   cf.Organization
}

// OwnerOf returns an app with its space and organization.
func OwnerOf(v *state.View, app string) (o Owner, ok bool) {
	if o.App, ok = v.App(app); !ok {
		return o, false
	}
	o.Space, _ = v.Space(o.App.SpaceGUID)
	o.Org, _ = v.Organization(o.Space.OrgGUID)
	return o, true
}

// Application is VCAP_APPLICATION of the app, without what depends on a
// process.
func (o Owner) Application(v *state.View, apiURL string) cf.VCAPApplication {
	var uris []string
	for _, r := range v.RoutesOfApp(o.App.GUID) {
		if d, ok := v.Domain(r.DomainGUID); ok {
			uris = append(uris, r.URL(d.Name))
		}
	}
	return cf.NewVCAPApplication(apiURL, o.App, o.Space, o.Org, uris)
}

// Services is VCAP_SERVICES of bound services.
func Services(s state.Sealer, bound []cf.BoundService) (json.RawMessage, error) {
	return cf.VCAPServices(bound, func(b cf.BoundService) ([]byte, error) {
		return state.OpenCredentials(s, b.InstanceGUID, b.Credentials)
	})
}

// Environment is a group's variables, overridden by the app's own.
func Environment(group cf.EnvGroup, own map[string]string) map[string]string {
	out := make(map[string]string, len(group.Var)+len(own))
	maps.Copy(out, group.Var)
	maps.Copy(out, own)
	return out
}
