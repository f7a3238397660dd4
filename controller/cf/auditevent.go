package cf

import "encoding/json"

// AuditEvent says who did what to which resource. Type is one of Cloud
// Foundry's, such as "audit.app.create".
type AuditEvent struct {
	Resource
	Type      string          `json:"type"`
	Actor     EventParty      `json:"actor"`
	Target    EventParty      `json:"target"`
	SpaceGUID string          `json:"space_guid,omitempty"`
	OrgGUID   string          `json:"org_guid,omitempty"`
	Data      json.RawMessage `json:"data,omitempty"` // an object, without secrets
}

// EventParty is the actor or the target of an event.
type EventParty struct {
	GUID string `json:"guid"`
	Type string `json:"type"` // "user", "app", "process", "system", …
	Name string `json:"name"`
}
