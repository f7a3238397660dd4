package staging_test

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/deploy"
	"github.com/stackato/stackato/jobs"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/rpcerr"
	wire "github.com/stackato/stackato/wire/staging"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBuildBecomesDroplet(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	b, alloc := w.build("shop", "n1")
	spec, err := w.Spec(ctx, "n1", alloc, b.GUID)
	w.must(err)
	if strings.Contains(w.get(b.GUID).TokenHash, spec.Token) || spec.Token == "" {
		t.Error("the rows hold the token itself")
	}
	var app struct {
		Name   string         `json:"application_name"`
		Limits map[string]int `json:"limits"`
	}
	w.must(json.Unmarshal([]byte(spec.Env["VCAP_APPLICATION"]), &app))
	if app.Name != "shop" || app.Limits["mem"] != 1024 || spec.Env["SECRET"] != "open sesame" || spec.Env["VCAP_SERVICES"] != "{}" {
		t.Errorf("environment %v", spec.Env)
	}
	want := []wire.Buildpack{{Name: "staticfile", Builtin: "staticfile"}, {Name: "nodejs", Builtin: "nodejs"}}
	if diff := cmp.Diff(want, spec.Buildpacks); diff != "" || !spec.Detect {
		t.Errorf("detect %v, buildpacks (-want +got):\n%s", spec.Detect, diff)
	}
	if spec.Timeout != 15*time.Minute || spec.HTTPProxy != "http://proxy:3128" || spec.Certificates != "PEM" {
		t.Errorf("settings %+v", spec)
	}

	r, _, err := w.Blob(ctx, "n1", spec.Token, spec.Package.Digest)
	w.must(err)
	if content, err := io.ReadAll(r); err != nil || string(content) != "zip of shop" {
		t.Errorf("package %q, %v", content, err)
	}
	droplet, err := w.PutDroplet(ctx, b.GUID, spec.Token, strings.NewReader("droplet"))
	w.must(err)
	cache, err := w.PutCache(ctx, b.GUID, spec.Token, strings.NewReader("cache"))
	w.must(err)
	result := wire.Result{
		BuildGUID: b.GUID, Droplet: droplet, Cache: cache, ProcessTypes: map[string]string{"web": "nginx"},
		Buildpacks: []wire.Detected{{Name: "staticfile", DetectOutput: "staticfile 1"}},
	}
	// Knowing another app's droplet is not enough to get it.
	for _, foreign := range []func(*wire.Result){
		func(r *wire.Result) { r.Droplet.Digest = strings.Repeat("a", 64) },
		func(r *wire.Result) { r.Cache.Digest = strings.Repeat("a", 64) },
	} {
		forged := result
		foreign(&forged)
		if err := w.Result(ctx, spec.Token, forged); rpcerr.Of(err) != rpcerr.Denied || w.get(b.GUID).State != cf.BuildStaging {
			t.Errorf("a result with a blob that the build did not store: %v, build %s", err, w.get(b.GUID).State)
		}
	}
	for range 2 { // the first answer may have been lost
		w.must(w.Result(ctx, spec.Token, result))
	}
	b = w.get(b.GUID)
	d, ok := w.store.Local().Droplet(b.DropletGUID)
	if b.State != cf.BuildStaged || !ok || d.Blob != droplet || d.ProcessTypes["web"] != "nginx" || d.Stack != "stackato" ||
		len(d.Buildpacks) != 1 || d.Buildpacks[0].DetectOutput != "staticfile 1" {
		t.Errorf("build %+v, droplet %+v", b, d)
	}
	if a, _ := w.store.Local().App(b.AppGUID); a.BuildCache != cache {
		t.Errorf("build cache %+v, want %+v", a.BuildCache, cache)
	}
	refused(t, "a token after the result", w.Result(ctx, spec.Token, wire.Result{BuildGUID: b.GUID, Error: "X"}))
	if _, err := w.PutDroplet(ctx, b.GUID, spec.Token, strings.NewReader("more")); err == nil {
		t.Error("a token is good for more after the result")
	}
}

func refused(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, rpcerr.Denied) {
		t.Errorf("%s: %v, want it refused", what, err)
	}
}

func TestOthersBuildsAreRefused(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	b1, alloc1 := w.build("one", "n1")
	b2, alloc2 := w.build("two", "n2")
	s1, err := w.Spec(ctx, "n1", alloc1, b1.GUID)
	w.must(err)
	s2, err := w.Spec(ctx, "n2", alloc2, b2.GUID)
	w.must(err)

	for what, ask := range map[string][3]string{
		"specification for another node's allocation":  {"n1", alloc2, b2.GUID},
		"specification of another build":               {"n1", alloc1, b2.GUID},
		"specification for an allocation that is none": {"n1", "bc4c3f2e-0000-0000-0000-000000000000", b1.GUID},
	} {
		_, err := w.Spec(ctx, ask[0], ask[1], ask[2])
		refused(t, what, err)
	}
	for what, ask := range map[string][3]string{
		"another build's package":          {"n1", s1.Token, s2.Package.Digest},
		"a build's package from elsewhere": {"n1", s2.Token, s2.Package.Digest},
		"a blob with a forged token":       {"n1", "forged", s1.Package.Digest},
		"a blob without a token":           {"n1", "", s1.Package.Digest},
		"no blob at all":                   {"n1", s1.Token, ""},
	} {
		_, _, err := w.Blob(ctx, ask[0], ask[1], ask[2])
		refused(t, what, err)
	}
	_, err = w.PutDroplet(ctx, b2.GUID, s1.Token, strings.NewReader("evil"))
	refused(t, "another build's droplet", err)
	_, err = w.PutCache(ctx, b2.GUID, s1.Token, strings.NewReader("evil"))
	refused(t, "another build's cache", err)
	refused(t, "another build's result", w.Result(ctx, s1.Token, wire.Result{BuildGUID: b2.GUID, Droplet: instance.Blob{Digest: "d"}}))
	if s := w.get(b2.GUID).State; s != cf.BuildStaging {
		t.Errorf("build two is %s", s)
	}

	again, err := w.Spec(ctx, "n1", alloc1, b1.GUID)
	w.must(err)
	_, _, err = w.Blob(ctx, "n1", s1.Token, s1.Package.Digest)
	refused(t, "the token before the last", err)
	r, _, err := w.Blob(ctx, "n1", again.Token, s1.Package.Digest)
	w.must(err)
	r.Close()

	w.nomad.Change(alloc1, func(a *deploy.Alloc) { a.State = deploy.AllocComplete })
	_, err = w.Spec(ctx, "n1", alloc1, b1.GUID)
	refused(t, "specification after the end", err)
	_, _, err = w.Blob(ctx, "n1", again.Token, s1.Package.Digest)
	refused(t, "a blob after the end", err)
}

func TestBuildpacksThatWereAskedFor(t *testing.T) {
	bits := instance.Blob{Digest: strings.Repeat("a", 64), Size: 7}
	for name, c := range map[string]struct {
		ask  []string
		want []wire.Buildpack
		err  string
	}{
		"built in": {[]string{"nodejs"}, []wire.Buildpack{{Name: "nodejs", Builtin: "nodejs"}}, ""},
		"several, uploaded and by URL": {
			[]string{"https://user:pw@git.example.com/x.git#v1", "own"},
			[]wire.Buildpack{
				{Name: "https://git.example.com/x.git#v1", URL: "https://user:pw@git.example.com/x.git#v1"},
				{Name: "own", Blob: bits},
			},
			"",
		},
		"unknown":       {[]string{"cobol"}, nil, `StagingError - There is no buildpack "cobol"`},
		"disabled":      {[]string{"off"}, nil, `StagingError - The buildpack "off" is disabled`},
		"without bits":  {[]string{"empty"}, nil, `StagingError - The buildpack "empty" has no content`},
		"second absent": {[]string{"nodejs", "cobol"}, nil, "StagingError"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.buildpack(cf.Buildpack{Name: "own", Enabled: true, Bits: bits, Position: 9})
			w.buildpack(cf.Buildpack{Name: "off", BuiltIn: true, Position: 9})
			w.buildpack(cf.Buildpack{Name: "empty", Enabled: true, Position: 9})
			b, alloc := w.build("shop", "n1", c.ask...)
			spec, err := w.Spec(t.Context(), "n1", alloc, b.GUID)
			if c.err == "" {
				w.must(err)
				if diff := cmp.Diff(c.want, spec.Buildpacks); diff != "" || spec.Detect {
					t.Errorf("detect %v, buildpacks (-want +got):\n%s", spec.Detect, diff)
				}
				return
			}
			b = w.get(b.GUID)
			if !errors.Is(err, rpcerr.NotFound) || b.State != cf.BuildFailed || !strings.HasPrefix(b.Error, c.err) {
				t.Errorf("error %v, build %s %q, want %q", err, b.State, b.Error, c.err)
			}
		})
	}
}

func TestFailuresThatNobodyReports(t *testing.T) {
	for name, c := range map[string]struct {
		room  int
		why   *deploy.Unplaced
		alloc func(*deploy.Alloc)
		age   time.Duration
		want  string
	}{
		"too slow": {-1, nil, nil, time.Hour, "StagingTimeExpired - Staging took longer than 15m0s."},
		"out of memory": {-1, nil, func(a *deploy.Alloc) {
			a.State, a.OOM, a.ExitCode = deploy.AllocFailed, true, 137
		}, 0, "StagingOutOfMemory - Staging ran out of memory: it may use 1024 MB."},
		"out of memory, but Nomad did not hear of it": {-1, nil, func(a *deploy.Alloc) {
			a.State, a.ExitCode = deploy.AllocFailed, 137
		}, 0, "StagingOutOfMemory - Staging ran out of memory: it may use 1024 MB."},
		"stager died": {-1, nil, func(a *deploy.Alloc) {
			a.State, a.ExitCode = deploy.AllocFailed, 2
		}, 0, "StagingError - The stager ended with status 2 and said nothing."},
		"no container": {-1, nil, func(a *deploy.Alloc) {
			a.State, a.Reason = deploy.AllocFailed, "no such image"
		}, 0, "StagingError - The staging container could not be started: no such image"},
		"node lost": {-1, nil, func(a *deploy.Alloc) {
			a.State = deploy.AllocLost
		}, 0, "StagingError - The node that staged the app was lost."},
		"unmet placement zone": {
			0,
			&deploy.Unplaced{Nodes: 2, Filtered: 2, Constraints: map[string]int{"placement_zone_gold": 2}},
			nil, 6 * time.Second, `InsufficientResources - No DEA is in the placement zone "gold". Zones that exist: default, silver.`,
		},
		"no room": {
			0,
			&deploy.Unplaced{Nodes: 2, Exhausted: 2, Dimensions: map[string]int{"memory": 2}},
			nil, 2 * time.Minute, "InsufficientResources - No DEA has enough room: memory is used up on 2 nodes.",
		},
		"no image": {
			0, &deploy.Unplaced{Nodes: 1, Filtered: 1, Constraints: map[string]int{"stack_stack_2": 1}, Image: "stack:2"},
			nil, 6 * time.Second, "InsufficientResources - No DEA that may take it has the image stack:2, which the stack is, verified. n1 has stack:1.",
		},
		"not taken": {0, nil, nil, 2 * time.Minute, "InsufficientResources - The scheduler did not start the build within 1m0s."},
		"no DEA":    {0, &deploy.Unplaced{}, nil, 6 * time.Second, "InsufficientResources - No DEA is there"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.nomad.Room, w.nomad.Why = c.room, c.why
			w.run()
			b, alloc := w.build("shop", "n1")
			if c.alloc != nil {
				w.nomad.Change(alloc, c.alloc)
			}
			w.later(c.age)
			b = w.await(b.GUID)
			if b.State != cf.BuildFailed || !strings.HasPrefix(b.Error, c.want) {
				t.Errorf("build %s %q, want %q", b.State, b.Error, c.want)
			}
			_, detail, _ := strings.Cut(b.Error, " - ")
			waitFor(t, "the app's log", func() bool { return strings.Contains(w.log(), detail) })
		})
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// A build that waits for room, or that runs, is left alone.
func TestPatience(t *testing.T) {
	for name, why := range map[string]*deploy.Unplaced{
		"no room": {Nodes: 1, Exhausted: 1},
		// A DEA has it, or is in it; Nomad hears of that within seconds.
		"the zone is coming":  {Nodes: 1, Filtered: 1, Constraints: map[string]int{"placement_zone_silver": 1}},
		"the image is coming": {Nodes: 1, Filtered: 1, Constraints: map[string]int{"stack_stack_1": 1}, Image: "stack:1"},
	} {
		t.Run(name, func(t *testing.T) { testPatience(t, why) })
	}
}

func testPatience(t *testing.T, why *deploy.Unplaced) {
	w := newWorld(t)
	w.nomad.Room, w.nomad.Why = 0, why
	waiting, _ := w.build("waiting", "n1")
	w.nomad.Room = -1
	running, _ := w.build("running", "n1")
	w.later(30 * time.Second)
	w.run()
	// Another build's end shows that the two were looked at.
	w.nomad.Room = 0
	third, _ := w.build("third", "n1")
	w.must(w.nomad.Remove(t.Context(), jobs.StagingID(third.GUID)))
	w.must(w.Cancel(t.Context(), third.GUID, "You canceled it."))
	if b := w.await(third.GUID); b.Error != "StagingError - You canceled it." {
		t.Errorf("canceled build: %q", b.Error)
	}
	for _, b := range []cf.Build{waiting, running} {
		if got := w.get(b.GUID); got.State != cf.BuildStaging {
			t.Errorf("build is %s: %s", got.State, got.Error)
		}
	}
}
