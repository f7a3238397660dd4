package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	cfapi "github.com/stackato/stackato/controller/api"
	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/state"
)

const (
	apps     = 10_000
	spaces   = 100
	perPage  = 50
	requests = 2000
)

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

// tokens takes a user's name for its token; "admin" is an administrator.
type tokens struct{}

func (tokens) Verify(_ context.Context, bearer string) (cfapi.Identity, error) {
	id := cfapi.Identity{UserID: bearer, UserName: bearer, Origin: "uaa", ClientID: "cf", Scopes: []string{auth.ScopeRead, auth.ScopeWrite}}
	if bearer == "admin" {
		id.Scopes = append(id.Scopes, auth.ScopeAdmin)
	}
	return id, nil
}

// BenchmarkListApps asks for pages of GET /v3/apps among 10,000 apps in 100
// spaces: as administrator, and as a developer of ten of the spaces; by one
// client, and by 16.
func BenchmarkListApps(b *testing.B) {
	url := seed(b)
	for _, user := range []string{"admin", "developer"} {
		for _, clients := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/clients=%d", user, clients), func(b *testing.B) {
				visible := apps
				if user == "developer" {
					visible = apps / 10
				}
				for b.Loop() {
					report(b, during(clients, requests, func(n int) error { return page(b.Context(), url, user, n, visible) }))
				}
			})
		}
	}
}

// page asks for the page number n, and around again.
func page(ctx context.Context, url, user string, n, visible int) error {
	n = n * 7 % (visible / perPage) // near ones are not asked for one after the other
	var got struct {
		Pagination struct {
			Total int `json:"total_results"`
		} `json:"pagination"`
		Resources []struct{} `json:"resources"`
	}
	err := call(ctx, client, http.MethodGet, fmt.Sprintf("%s/v3/apps?per_page=%d&page=%d", url, perPage, n+1), "bearer "+user, nil, &got)
	if err == nil && (got.Pagination.Total != visible || len(got.Resources) != perPage) {
		err = fmt.Errorf("%d of %d apps came", len(got.Resources), got.Pagination.Total)
	}
	return err
}

// seed serves an API with organizations, spaces and apps, made by its own calls.
func seed(b *testing.B) (url string) {
	b.Helper()
	api := cfapi.New(cfapi.Config{
		State: state.NewMemory(), Verify: tokens{}, Domain: "bench.test", ExternalURL: "http://api.bench.test",
	})
	server := httptest.NewServer(api.Handler())
	b.Cleanup(server.Close)
	post := func(path string, body named) string {
		b.Helper()
		var made struct {
			GUID string `json:"guid"`
		}
		must(b, call(b.Context(), client, http.MethodPost, server.URL+path, "bearer admin", body, &made))
		return made.GUID
	}
	must(b, call(b.Context(), client, http.MethodPost, server.URL+"/v3/users", "bearer admin", named{"guid": "developer"}, nil))
	for s := range spaces {
		org := post("/v3/organizations", named{"name": fmt.Sprintf("org-%d", s)})
		space := post("/v3/spaces", named{"name": "space", "relationships": named{"organization": to(org)}})
		if s%10 == 0 {
			post("/v3/roles", named{"type": "organization_user", "relationships": named{"user": to("developer"), "organization": to(org)}})
			post("/v3/roles", named{"type": "space_developer", "relationships": named{"user": to("developer"), "space": to(space)}})
		}
		for a := range apps / spaces {
			post("/v3/apps", named{"name": fmt.Sprintf("app-%d", a), "relationships": named{"space": to(space)}})
		}
	}
	return server.URL
}

type named = map[string]any

func to(guid string) named { return named{"data": named{"guid": guid}} }

// call sends a request and decodes the answer into out unless that is nil.
func call(ctx context.Context, client *http.Client, method, url, authorization string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = strings.NewReader(string(data))
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", authorization)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: status %d: %s", method, url, resp.StatusCode, data)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}

// figures are the times of the same call.
type figures struct {
	took  []time.Duration
	total time.Duration
	cpu   time.Duration // of this process, client and server alike
	err   error         // the first one
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// during makes count calls by a number of clients at once.
func during(clients, count int, do func(n int) error) (f figures) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	start, cpu := time.Now(), cpuTime()
	for c := range clients {
		wg.Go(func() {
			for n := c; n < count; n += clients {
				began := time.Now()
				err := do(n)
				took := time.Since(began)
				mu.Lock()
				f.took = append(f.took, took)
				if f.err == nil {
					f.err = err
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	f.total, f.cpu = time.Since(start), cpuTime()-cpu
	return f
}

func report(b *testing.B, f figures) {
	b.Helper()
	must(b, f.err)
	slices.Sort(f.took)
	ms := func(at int) float64 { return float64(f.took[len(f.took)*at/100].Microseconds()) / 1000 }
	b.ReportMetric(ms(50), "median-ms")
	b.ReportMetric(ms(99), "p99-ms")
	b.ReportMetric(float64(len(f.took))/f.total.Seconds(), "calls/s")
	b.ReportMetric(float64(f.cpu.Microseconds())/1000/float64(len(f.took)), "cpu-ms/call")
	b.ReportMetric(0, "ns/op")
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
