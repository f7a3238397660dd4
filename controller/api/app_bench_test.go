package api

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

// BenchmarkListApps lists 50 of 10,000 apps as their developer, who is in one
// of 100 spaces, and as administrator.
func BenchmarkListApps(b *testing.B) {
	const apps, spaces = 10_000, 100
	store := state.NewMemory()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	res := func(guid string) cf.Resource {
		at = at.Add(time.Second)
		return cf.Resource{GUID: guid, CreatedAt: at, UpdatedAt: at}
	}
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	must(store.CreateOrganization(b.Context(), cf.Organization{Resource: res("org"), Name: "org"}))
	must(store.CreateRole(b.Context(), state.RoleCreation{Role: cf.Role{Resource: res("r0"), Type: "organization_user", UserGUID: "dev-guid", OrgGUID: "org"}}))
	for s := range spaces {
		space := fmt.Sprint("space", s)
		must(store.CreateSpace(b.Context(), cf.Space{Resource: res(space), Name: space, OrgGUID: "org"}))
		if s < 10 {
			must(store.CreateRole(b.Context(), state.RoleCreation{Role: cf.Role{Resource: res(fmt.Sprint("r", s+1)), Type: "space_developer", UserGUID: "dev-guid", SpaceGUID: space}}))
		}
		var batch state.Batch
		for i := range apps / spaces {
			guid := fmt.Sprintf("app-%d-%d", s, i)
			batch.CreateApp(state.AppCreation{
				App: cf.App{Resource: res(guid), Name: guid, SpaceGUID: space, State: cf.AppStopped},
				Web: cf.Process{Resource: res(guid + "-web"), AppGUID: guid, Type: "web", Instances: 1},
			})
		}
		must(store.Apply(b.Context(), &batch))
	}
	a := New(Config{State: store, Verify: tokens{}, Domain: "x.test", ExternalURL: "http://api.x.test"})
	for _, bb := range []struct{ name, user, path string }{
		{"admin", "admin", "/v3/apps?per_page=50"},
		{"admin by name", "admin", "/v3/apps?per_page=50&order_by=name&page=100"},
		{"developer", "dev", "/v3/apps?per_page=50"},
		{"one space", "dev", "/v3/apps?per_page=50&space_guids=space3"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				req := httptest.NewRequest(http.MethodGet, bb.path, nil)
				req.Header.Set("Authorization", "bearer "+bb.user)
				w := httptest.NewRecorder()
				a.Handler().ServeHTTP(w, req)
				if w.Code != http.StatusOK {
					b.Fatal(w.Body)
				}
				_, _ = io.Copy(io.Discard, w.Body)
			}
		})
	}
}
