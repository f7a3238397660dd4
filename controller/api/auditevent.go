package api

import (
	"encoding/json"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
)

func (a *API) auditEventRoutes() []route {
	return []route{
		{"GET", "/v3/audit_events", auth.EventRead, "List who did what.", listAuditEvents},
		{"GET", "/v3/audit_events/{guid}", auth.EventRead, "Show an event.", getAuditEvent},
	}
}

type auditEventJSON struct {
	head
	Type         string          `json:"type"`
	Actor        cf.EventParty   `json:"actor"`
	Target       cf.EventParty   `json:"target"`
	Data         json.RawMessage `json:"data"`
	Space        *relationData   `json:"space"`
	Organization *relationData   `json:"organization"`
	Links        links           `json:"links"`
}

func presentAuditEvent(r *request, e cf.AuditEvent) any {
	out := auditEventJSON{
		head: headOf(e.Resource), Type: e.Type, Actor: e.Actor, Target: e.Target, Data: e.Data,
		Space: toOne(e.SpaceGUID).Data, Organization: toOne(e.OrgGUID).Data,
		Links: links{"self": {Href: r.link("/v3/audit_events/", e.GUID)}},
	}
	if len(out.Data) == 0 {
		out.Data = json.RawMessage("{}")
	}
	return out
}

func (r *request) seesEvent(e *cf.AuditEvent) bool {
	return r.can.Can(auth.EventRead, e.OrgGUID, e.SpaceGUID)
}

func listAuditEvents(r *request) (response, error) {
	l := listing[cf.AuditEvent]{
		resource: func(e *cf.AuditEvent) cf.Resource { return e.Resource },
		filters: map[string]func(*cf.AuditEvent) string{
			"types":              func(e *cf.AuditEvent) string { return e.Type },
			"target_guids":       func(e *cf.AuditEvent) string { return e.Target.GUID },
			"space_guids":        func(e *cf.AuditEvent) string { return e.SpaceGUID },
			"organization_guids": func(e *cf.AuditEvent) string { return e.OrgGUID },
		},
		present: func(r *request, e cf.AuditEvent) any { return presentAuditEvent(r, e) },
	}
	return l.serve(r, where(r.view.AuditEvents(), r.seesEvent))
}

func getAuditEvent(r *request) (response, error) {
	e, found := r.view.AuditEvent(r.guid())
	if !found || !r.seesEvent(&e) {
		return response{}, cf.ErrNotFound.With("Event not found")
	}
	return ok(presentAuditEvent(r, e))
}
