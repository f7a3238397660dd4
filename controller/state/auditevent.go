package state

import (
	"context"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

// auditEvents are kept for 31 days, as in Cloud Foundry.
var auditEvents = bounded[cf.AuditEvent]{
	newTable[cf.AuditEvent]("cf_audit_events", byGUID(), byCreation(eventResource)), eventResource, 31 * 24 * time.Hour, 50_000,
}

func eventResource(e *cf.AuditEvent) cf.Resource { return e.Resource }

// AuditEvent returns one event.
func (v *View) AuditEvent(guid string) (cf.AuditEvent, bool) { return auditEvents.get(v, "id", guid) }

// AuditEvents returns all events, the oldest first.
func (v *View) AuditEvents() []cf.AuditEvent { return auditEvents.list(v, "created_prefix", "") }

// audited is a command that can carry an audit event, which is written with
// the change or not at all.
type audited[In, Out any] struct {
	command[audit[In], Out]
}

// audit is the input of an audited command.
type audit[In any] struct {
	In    In             `json:"in"`
	Event *cf.AuditEvent `json:"event,omitempty"`
}

// newAudited declares a command as [newCommand] does. The event comes from
// [WithEvent].
func newAudited[In, Out any](typ string, version int, apply func(tx *Tx, in In) (Out, error)) audited[In, Out] {
	return audited[In, Out]{newCommand(typ, version, func(tx *Tx, in audit[In]) (Out, error) {
		out, err := apply(tx, in.In)
		if err == nil && in.Event != nil {
			auditEvents.add(tx, *in.Event)
		}
		return out, err
	})}
}

// do proposes the command with the event of ctx.
func (c audited[In, Out]) do(ctx context.Context, s *Store, in In) (Out, error) {
	event, _ := ctx.Value(eventKey{}).(*cf.AuditEvent)
	return c.command.do(ctx, s, audit[In]{in, event})
}

// queue adds the command to a batch, without an event: see
// [Batch.RecordEvent].
func (c audited[In, Out]) queue(b *Batch, in In) { c.command.queue(b, audit[In]{In: in}) }

type eventKey struct{}

// WithEvent lets the next audited command that is proposed with the context
// write an event too. Use it for one command.
func WithEvent(ctx context.Context, e cf.AuditEvent) context.Context {
	return context.WithValue(ctx, eventKey{}, &e)
}

var recordEvent = newCommand("cf.audit_event.record", 1, func(tx *Tx, in cf.AuditEvent) (none, error) {
	auditEvents.add(tx, in)
	return none{}, nil
})

// RecordEvent writes an event that belongs to no command, such as a crash.
func (s *Store) RecordEvent(ctx context.Context, e cf.AuditEvent) error {
	_, err := recordEvent.do(ctx, s, e)
	return err
}

// RecordEvent is like Store.RecordEvent.
func (b *Batch) RecordEvent(e cf.AuditEvent) { recordEvent.queue(b, e) }
