package main

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/inspect"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/health"
	"github.com/stackato/stackato/controller/state"
)

// TestDifferencesHaveNames: operators know organizations and apps by name, and
// a cluster that is down is no reason to list all of it.
func TestDifferencesHaveNames(t *testing.T) {
	store := state.NewMemory()
	now := time.Now()
	res := func(guid string) cf.Resource { return cf.Resource{GUID: guid, CreatedAt: now, UpdatedAt: now} }
	if err := errors.Join(
		store.CreateOrganization(t.Context(), cf.Organization{Resource: res("o"), Name: "acme"}),
		store.CreateSpace(t.Context(), cf.Space{Resource: res("s"), Name: "dev", OrgGUID: "o"}),
		store.CreateApp(t.Context(), state.AppCreation{
			App: cf.App{Resource: res("a"), Name: "shop", SpaceGUID: "s", State: cf.AppStopped},
			Web: cf.Process{Resource: res("p"), AppGUID: "a", Type: "web"},
		}),
	); err != nil {
		t.Fatal(err)
	}
	v, err := store.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := []health.Difference{
		{App: "a", Process: "p", Type: "worker", Asked: 2, Missing: []health.Missing{{Index: 0, Reason: "No."}, {Index: 1, Reason: "No."}}},
		{App: "gone", Process: "q", Type: "web"},
	}
	got := describeDifferences(v, all)
	want := inspect.Apps{Different: []inspect.App{
		{Organization: "acme", Space: "dev", Name: "shop", Process: "worker", Asked: 2, Reasons: []string{"#0 #1: No."}},
		{Name: "gone", Process: "web"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for i := range 100 {
		all = append(all, health.Difference{App: fmt.Sprint(i)})
	}
	if got := describeDifferences(v, all); len(got.Different) != inspect.MaxApps || got.More != 102-inspect.MaxApps {
		t.Errorf("%d are listed and %d more", len(got.Different), got.More)
	}
}
