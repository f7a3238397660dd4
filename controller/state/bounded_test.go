package state

import (
	"fmt"
	"testing"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

func TestEventsAreBounded(t *testing.T) {
	old := auditEvents.most
	auditEvents.most = 150
	defer func() { auditEvents.most = old }()
	s := NewMemory()
	record := func(i int, at time.Time) {
		t.Helper()
		e := cf.AuditEvent{Resource: cf.Resource{GUID: fmt.Sprint(i), CreatedAt: at}, Type: "audit.test"}
		if err := s.RecordEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 400 {
		record(i, noon.Add(time.Duration(i)*time.Second))
	}
	events := s.Local().AuditEvents()
	if len(events) != 150 || events[0].GUID != "250" || events[149].GUID != "399" {
		t.Errorf("%d events from %s on, want the newest 150", len(events), events[0].GUID)
	}
	// A month later all of them go, a hundred with each command.
	month := noon.Add(32 * 24 * time.Hour)
	record(1000, month)
	if n := len(s.Local().AuditEvents()); n != 51 {
		t.Errorf("%d events after the first of the next month, want 51", n)
	}
	record(1001, month)
	if n := len(s.Local().AuditEvents()); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
}
