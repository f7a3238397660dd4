package staging_test

import (
	"strings"
	"testing"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/wire/instance"
	wire "github.com/stackato/stackato/wire/staging"
)

// TestForgedResults: a build's processes can write what they like instead of
// the stager's words. It becomes neither rows nor what a terminal obeys.
func TestForgedResults(t *testing.T) {
	many := map[string]string{}
	for i := range 101 {
		many[strings.Repeat("x", i+1)] = "run"
	}
	long := strings.Repeat("x", 5000)
	for name, forge := range map[string]func(*wire.Result){
		"many types":           func(r *wire.Result) { r.ProcessTypes = many },
		"a type with a path":   func(r *wire.Result) { r.ProcessTypes = map[string]string{"../web": "run"} },
		"a type without name":  func(r *wire.Result) { r.ProcessTypes = map[string]string{"": "run"} },
		"a long command":       func(r *wire.Result) { r.ProcessTypes = map[string]string{"web": long} },
		"a command with a NUL": func(r *wire.Result) { r.ProcessTypes = map[string]string{"web": "a\x00b"} },
		"many sidecars":        func(r *wire.Result) { r.Sidecars = make([]instance.Sidecar, 101) },
		"a sidecar's name":     func(r *wire.Result) { r.Sidecars = []instance.Sidecar{{Name: "a\x1b[2Jb", Command: "run"}} },
		"a sidecar's memory":   func(r *wire.Result) { r.Sidecars = []instance.Sidecar{{Name: "a", Command: "run", MemoryMB: -1 << 30}} },
		"a sidecar's types": func(r *wire.Result) {
			r.Sidecars = []instance.Sidecar{{Name: "a", Command: "run", ProcessTypes: []string{"a b"}}}
		},
		"a sidecar's command": func(r *wire.Result) { r.Sidecars = []instance.Sidecar{{Name: "a", Command: long}} },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b, alloc := w.build("one", "n1")
			spec, err := w.Spec(t.Context(), "n1", alloc, b.GUID)
			w.must(err)
			droplet, err := w.PutDroplet(t.Context(), b.GUID, spec.Token, strings.NewReader("droplet"))
			w.must(err)
			r := wire.Result{BuildGUID: b.GUID, Droplet: droplet, ProcessTypes: map[string]string{"web": "run"}}
			forge(&r)
			w.must(w.Result(t.Context(), spec.Token, r))
			if b = w.get(b.GUID); b.State != cf.BuildFailed || !strings.HasPrefix(b.Error, "BuildpackReleaseFailed - What the build says of its processes is not valid: ") {
				t.Errorf("%s %q", b.State, b.Error)
			}
			if strings.ContainsAny(b.Error, "\x1b\x00") || len(b.Error) > 300 {
				t.Errorf("%q", b.Error)
			}
		})
	}

	w := newWorld(t)
	b, alloc := w.build("one", "n1")
	spec, err := w.Spec(t.Context(), "n1", alloc, b.GUID)
	w.must(err)
	r := wire.Result{BuildGUID: b.GUID, Error: "Evil\x1b", Detail: "bad\x1b[2J\xff\u009b " + long + long}
	for range 2 { // the first answer may have been lost
		w.must(w.Result(t.Context(), spec.Token, r))
	}
	if b = w.get(b.GUID); !strings.HasPrefix(b.Error, "StagingError - bad[2J xxx") || len(b.Error) > 2100 {
		t.Errorf("%q", b.Error)
	}
}
