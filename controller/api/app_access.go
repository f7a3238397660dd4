package api

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/logs"
)

// app is the path's app, if the user may do action with it.
func (r *request) app(action auth.Action) (cf.App, error) {
	return r.appNamed(r.guid(), action, "App")
}

// appNamed is an app, if the user may do action with it and with what belongs
// to it. Resource is what is said to be missing.
func (r *request) appNamed(guid string, action auth.Action, resource string) (cf.App, error) {
	a, found := r.view.App(guid)
	if !found {
		return a, cf.ErrNotFound.With("%s not found", resource)
	}
	return a, r.inSpace(a.SpaceGUID, auth.AppRead, action, resource)
}

// inSpace is require for what is in a space.
func (r *request) inSpace(spaceGUID string, read, action auth.Action, resource string) error {
	space, _ := r.view.Space(spaceGUID)
	return r.require(read, action, space.OrgGUID, space.GUID, resource)
}

// spacesWith tells the spaces in which the user may do an action.
func (r *request) spacesWith(action auth.Action) func(spaceGUID string) bool {
	if r.can.Everywhere(action) {
		return func(string) bool { return true }
	}
	known := map[string]bool{}
	return func(guid string) bool {
		yes, asked := known[guid]
		if !asked {
			space, found := r.view.Space(guid)
			yes = found && r.can.Can(action, space.OrgGUID, guid)
			known[guid] = yes
		}
		return yes
	}
}

// spaceOfApp is "" for an app that does not exist.
func (r *request) spaceOfApp(appGUID string) string {
	a, _ := r.view.App(appGUID)
	return a.SpaceGUID
}

func (r *request) orgOfSpace(spaceGUID string) string {
	s, _ := r.view.Space(spaceGUID)
	return s.OrgGUID
}

// ofApps are the rows that belong to apps: those of the path's app, of the
// apps or spaces that the query names, or all. The filters of the listing look
// at them again.
func ofApps[T any](r *request, of func(appGUID string) []T, all func() []T) []T {
	var guids []string
	switch {
	case r.guid() != "":
		guids = []string{r.guid()}
	case r.query.Has("app_guids"):
		guids = list(r.query.Get("app_guids"))
	case r.query.Has("space_guids"):
		for _, space := range list(r.query.Get("space_guids")) {
			if space == "" {
				continue
			}
			for a := range r.view.EachApp(space) {
				guids = append(guids, a.GUID)
			}
		}
	default:
		return all()
	}
	var out []T
	slices.Sort(guids)
	for _, g := range slices.Compact(guids) {
		out = append(out, of(g)...)
	}
	return out
}

// readable yields the rows whose app the user may read.
func readable[T any](r *request, rows []T, app func(*T) string) iter.Seq[T] {
	may := r.spacesWith(auth.AppRead)
	return func(yield func(T) bool) {
		for i := range rows {
			if may(r.spaceOfApp(app(&rows[i]))) && !yield(rows[i]) {
				return
			}
		}
	}
}

// appFilters are the filters of what belongs to an app, and more.
func appFilters[T any](r *request, app func(*T) string, more map[string]func(*T) string) map[string]func(*T) string {
	out := map[string]func(*T) string{
		"app_guids":          app,
		"space_guids":        func(row *T) string { return r.spaceOfApp(app(row)) },
		"organization_guids": func(row *T) string { return r.orgOfSpace(r.spaceOfApp(app(row))) },
	}
	for k, v := range more {
		out[k] = v
	}
	return out
}

// log writes a line of source API into an app's log.
func (r *request) log(appGUID, format string, args ...any) {
	if r.api.Logs == nil {
		return
	}
	r.api.Logs.Append(logs.Line{
		Time: r.api.Now().UnixNano(), AppGUID: appGUID, SourceType: logs.SourceAPI, InstanceID: "0",
		Message: fmt.Appendf(nil, format, args...),
	})
}

// appParty is an app as the target of an event.
func appParty(a cf.App) cf.EventParty { return cf.EventParty{GUID: a.GUID, Type: "app", Name: a.Name} }

// event is an event of this request about something in a space. Data must
// hold no secrets.
func (r *request) event(typ string, target cf.EventParty, spaceGUID string, data any) cf.AuditEvent {
	raw, err := json.Marshal(data)
	if err != nil || data == nil {
		raw = []byte("{}")
	}
	return cf.AuditEvent{
		Resource: r.resource(), Type: typ, Actor: r.actor(), Target: target,
		OrgGUID: r.orgOfSpace(spaceGUID), SpaceGUID: spaceGUID, Data: raw,
	}
}

// auditApp is audit for an app.
func (r *request) auditApp(typ string, a cf.App, data any) context.Context {
	return state.WithEvent(r.Context(), r.event(typ, appParty(a), a.SpaceGUID, data))
}
