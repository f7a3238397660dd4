package push

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stackato/stackato/test/bench/micro"
)

const (
	rounds   = 7 // medians are reported
	pollHTTP = 5 * time.Millisecond
	patience = time.Minute // for one thing to happen
	sample   = "../../../samples/static"
)

// BenchmarkPush pushes the static sample by the API's calls; a first push that
// does not count warms the node up.
func BenchmarkPush(b *testing.B) {
	cloud := micro.Open(b)
	space := cloud.Space()
	upload, err := micro.Zip(os.DirFS(sample))
	must(b, err)
	events := followDocker(b)
	for b.Loop() {
		var total samples
		phases := map[string]samples{}
		for round := range rounds + 1 {
			p := pushOnce(b, cloud, space, upload, events)
			if round == 0 {
				continue
			}
			total = append(total, p.routed.Sub(p.uploaded))
			for _, phase := range p.phases() {
				phases[phase.name] = append(phases[phase.name], phase.took)
			}
		}
		total.report(b, "total")
		for name, took := range phases {
			b.ReportMetric(ms(took.median()), name+"-ms")
		}
		b.ReportMetric(0, "ns/op")
	}
}

// push is when things happened, in their order.
type push struct {
	uploaded                        time.Time // the package is ready: the clock starts
	stagerCreated, stagerStarted    time.Time // Docker's events
	staged                          time.Time // the build is STAGED and its droplet the app's
	asked                           time.Time // the start is acknowledged
	appCreated, appStarted, healthy time.Time
	routed                          time.Time // 200
}

type phase struct {
	name string
	took time.Duration
}

func (p *push) phases() (out []phase) {
	last := p.uploaded
	for _, step := range []struct {
		name string
		at   time.Time
	}{
		{"1-build-until-container", p.stagerCreated},
		{"2-container-until-stager", p.stagerStarted},
		{"3-stager-until-staged", p.staged},
		{"4-start-asked", p.asked},
		{"5-start-until-container", p.appCreated},
		{"6-container-until-launcher", p.appStarted},
		{"7-launcher-until-healthy", p.healthy},
		{"8-healthy-until-routed", p.routed},
	} {
		out = append(out, phase{step.name, step.at.Sub(last)})
		last = step.at
	}
	return out
}

func pushOnce(b *testing.B, cloud *micro.Cloud, space string, upload *micro.Upload, events *dockerEvents) *push {
	b.Helper()
	app := cloud.NewApp(space, fmt.Sprintf("bench-push-%d", time.Now().UnixNano()), 32)
	defer app.Delete()
	pkg := app.Upload(upload)
	p := &push{uploaded: time.Now()}
	build := app.Build(pkg)
	app.Staged(build)
	p.staged = time.Now()
	app.Start()
	p.asked = time.Now()
	awaitOK(b, cloud.Client(), "http://"+app.Host+"/")
	p.routed = time.Now()
	p.stagerCreated = events.await(b, "create", "stackato.process", build)
	p.stagerStarted = events.await(b, "start", "stackato.process", build)
	p.appCreated = events.await(b, "create", "stackato.process", app.Process())
	p.appStarted = events.await(b, "start", "stackato.process", app.Process())
	p.healthy = app.Logged("Container became healthy")
	return p
}

// awaitOK asks until there is a 200.
func awaitOK(b *testing.B, client *http.Client, url string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	tick := time.NewTicker(pollHTTP)
	defer tick.Stop()
	for {
		var last string
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		must(b, err)
		if resp, err := client.Do(req); err != nil {
			last = err.Error()
		} else {
			resp.Body.Close()
			if last = resp.Status; resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-ctx.Done():
			b.Fatalf("%s is not served: %s", url, last)
		case <-tick.C:
		}
	}
}

// samples are times of the same thing.
type samples []time.Duration

func (s samples) median() time.Duration { return s.at(50) }

// at returns a percentile.
func (s samples) at(percent int) time.Duration {
	s = slices.Sorted(slices.Values(s))
	return s[len(s)*percent/100]
}

func (s samples) report(b *testing.B, name string) {
	b.Helper()
	b.ReportMetric(ms(s.median()), name+"-median-ms")
	b.ReportMetric(ms(slices.Max(s)), name+"-worst-ms")
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
