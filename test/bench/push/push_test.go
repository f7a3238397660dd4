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

// BenchmarkPush pushes the static sample by the API's calls, and in turn lets
// Nomad alone run the same, so that what else the machine does meets both. A
// first round that does not count warms the node up.
func BenchmarkPush(b *testing.B) {
	cloud := micro.Open(b)
	space := cloud.Space()
	upload, err := micro.Zip(os.DirFS(sample))
	must(b, err)
	n := openNomad(b, cloud)
	rivals := n.rivals(b)
	events := followDocker(b)
	for b.Loop() {
		took := map[string]samples{}
		for round := range rounds + 1 {
			if round == 1 {
				clear(took)
			}
			p := pushOnce(b, cloud, space, upload, events)
			took["push"] = append(took["push"], p.routed.Sub(p.uploaded))
			for _, phase := range p.phases() {
				took[phase.name] = append(took[phase.name], phase.took)
			}
			for _, r := range rivals {
				took[r.name] = append(took[r.name], n.runOnce(b, r, events))
			}
		}
		for name, times := range took {
			b.ReportMetric(ms(times.median()), name+"-ms")
		}
		for _, name := range []string{"push", rivals[0].name} {
			b.ReportMetric(ms(slices.Max(took[name])), name+"-worst-ms")
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
	process := app.Process()
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
	p.appCreated = events.await(b, "create", "stackato.process", process)
	p.appStarted = events.await(b, "start", "stackato.process", process)
	p.healthy = app.Logged("Container became healthy")
	app.Delete()
	events.await(b, "destroy", "stackato.process", build)
	events.await(b, "destroy", "stackato.process", process) // the next round begins on a quiet node
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

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
