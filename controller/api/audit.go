package api

import (
	"context"
	"encoding/json"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

// audit returns the request's context with an event for the next command
// that the state calls audited. Data must hold no secrets.
func (r *request) audit(typ string, target cf.EventParty, orgGUID, spaceGUID string, data any) context.Context {
	raw, err := json.Marshal(data)
	if err != nil || data == nil {
		raw = []byte("{}")
	}
	return state.WithEvent(r.Context(), cf.AuditEvent{
		Resource: r.resource(), Type: typ, Actor: r.actor(), Target: target,
		OrgGUID: orgGUID, SpaceGUID: spaceGUID, Data: raw,
	})
}

// actor is the user, or the client whose own token it is.
func (r *request) actor() cf.EventParty {
	if r.user.UserID == "" {
		return cf.EventParty{GUID: r.user.ClientID, Type: "user", Name: r.user.ClientID}
	}
	return cf.EventParty{GUID: r.user.UserID, Type: "user", Name: r.user.UserName}
}

// auditMapping is audit for what is mapped to a route: the event belongs to
// the first app.
func (r *request) auditMapping(typ string, rt cf.Route, rows []cf.Destination) context.Context {
	if len(rows) == 0 {
		return r.Context()
	}
	a, _ := r.view.App(rows[0].AppGUID)
	guids := []string{}
	for _, d := range rows {
		guids = append(guids, d.AppGUID)
	}
	data := map[string]any{"route_guid": rt.GUID, "app_guids": guids, "process_type": rows[0].ProcessType}
	return r.audit(typ, appParty(a), r.orgOfSpace(a.SpaceGUID), a.SpaceGUID, data)
}
