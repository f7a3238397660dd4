package health

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/wire/instance"
)

// longest is longer than a crashed instance is held back.
const longest = time.Hour

// EventCrash is the type of the events that are written.
const EventCrash = "app.crash"

// crashSpace makes the GUID of a crash's event from the crash: whoever writes
// it twice, such as two Primaries one after the other, writes it once.
var crashSpace = uuid.MustParse("6f1e2c1e-6a3c-4bb1-9f58-0d4a3f0f7a11")

// crash is one end of one instance that nobody asked for.
type crash struct {
	status instance.Status
	guid   string
	// maybe says that it may have been written before, by another name: the
	// change itself was not seen.
	maybe bool
}

// crashOf returns the crash that a change tells of. An instance that is held
// back after a crash is CRASHED in a new container, with the same count.
func crashOf(was, is instance.Status) (crash, bool) {
	if is.State != instance.Crashed || is.Version == "" || was.State == instance.Crashed && was.Crashes == is.Crashes {
		return crash{}, false
	}
	key := fmt.Sprintf("%s %d %d", is.AllocID, is.Crashes, is.Since.UnixNano())
	return crash{is, uuid.NewSHA1(crashSpace, []byte(key)).String(), was.State == ""}, true
}

// written reports whether an event of the crash is there.
func (c crash) written(v *state.View) bool {
	if _, ok := v.AuditEvent(c.guid); ok {
		return true
	}
	if !c.maybe {
		return false
	}
	for _, e := range v.AuditEvents() {
		var d crashData
		if e.Type != EventCrash || e.Target.GUID != c.status.AppGUID || c.status.Since.Sub(e.CreatedAt) > longest {
			continue
		}
		if json.Unmarshal(e.Data, &d) == nil && d.Instance == c.status.AllocID && d.CrashCount == c.status.Crashes {
			return true
		}
	}
	return false
}

// crashData is what cf events shows of a crash.
type crashData struct {
	Index           int    `json:"index"`
	Reason          string `json:"reason"`
	ExitDescription string `json:"exit_description"`
	ExitStatus      int    `json:"exit_status"`
	CellID          string `json:"cell_id"`
	Instance        string `json:"instance"`
	ProcessType     string `json:"process_type"`
	Version         string `json:"version"`
	CrashCount      int    `json:"crash_count"`
	CrashTimestamp  int64  `json:"crash_timestamp"` // nanoseconds
}

// event is the audit event of a crash, dated when it happened, though not
// after now: clocks differ.
func (c crash) event(o owner, now time.Time) (cf.AuditEvent, error) {
	s := c.status
	at := s.Since
	if at.IsZero() || at.After(now) {
		at = now
	}
	data, err := json.Marshal(crashData{
		Index: s.Index, Reason: "CRASHED", ExitDescription: reason(s, false), ExitStatus: s.ExitCode, CellID: s.Node,
		Instance: s.AllocID, ProcessType: s.ProcessType, Version: s.Version, CrashCount: s.Crashes, CrashTimestamp: at.UnixNano(),
	})
	if err != nil {
		return cf.AuditEvent{}, err
	}
	party := cf.EventParty{GUID: o.app.GUID, Type: "app", Name: o.app.Name}
	return cf.AuditEvent{
		Resource: cf.Resource{GUID: c.guid, CreatedAt: at, UpdatedAt: at}, Type: EventCrash,
		Actor: party, Target: party, SpaceGUID: o.app.SpaceGUID, OrgGUID: o.org, Data: data,
	}, nil
}

type owner struct {
	app cf.App
	org string
}

func ownerOf(v *state.View, app string) (owner, bool) {
	a, ok := v.App(app)
	if !ok {
		return owner{}, false
	}
	s, _ := v.Space(a.SpaceGUID)
	return owner{a, s.OrgGUID}, true
}

// record writes the event of a crash, unless it is there or the app is gone.
func (m *Manager) record(ctx context.Context, st State, c crash) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	v, err := st.Read(ctx)
	if err != nil {
		return err
	}
	if c.written(v) {
		return nil
	}
	o, ok := ownerOf(v, c.status.AppGUID)
	if !ok {
		return nil
	}
	e, err := c.event(o, m.cfg.Now())
	if err != nil {
		return err
	}
	return st.RecordEvent(ctx, e)
}
