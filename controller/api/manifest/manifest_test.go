package manifest

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func ptr[T any](v T) *T { return &v }

func TestParse(t *testing.T) {
	data, err := os.ReadFile("testdata/whole.yml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	want := Manifest{[]Application{
		{
			Name: "whole", Buildpacks: ptr([]string{"a", "https://example.com/b"}), Stack: ptr("stackato"),
			Env:    map[string]string{"TEXT": "x", "INT": "1", "FLOAT": "1.5", "BOOL": "true", "NONE": "", "LIST": `["a"]`},
			Routes: []Route{{"a.example.com/p", "http2", ""}, {"b.example.com", "", "round-robin"}},
			Services: []Service{
				{Name: "db"}, {Name: "mq", BindingName: "queue"},
			},
			Processes: []Process{
				{
					Type: "web", Command: ptr("run"), Instances: ptr(2), MemoryMB: ptr(1536), DiskMB: ptr(512), LogRateBytes: ptr(int64(1024)),
					Health:    Check{ptr("http"), ptr("/up"), ptr(70), ptr(2), ptr(9)},
					Readiness: Check{Type: ptr("process"), Interval: ptr(5)},
				},
				{Type: "worker", Command: ptr(""), Instances: ptr(0), LogRateBytes: ptr(int64(-1))},
			},
			Sidecars:      []Sidecar{{"side", ptr("watch"), ptr([]string{"web"}), ptr(16)}},
			Labels:        map[string]*string{"a": ptr("b"), "gone": nil},
			Annotations:   map[string]*string{"c": ptr("1")},
			Features:      map[string]bool{"ssh": false},
			PlacementZone: ptr("fast"), DefaultRoute: true,
		},
		{Name: "old", Buildpacks: ptr([]string{"php"}), RandomRoute: true, Processes: []Process{{Type: "web", Health: Check{Type: ptr("process")}, MemoryMB: ptr(64)}}},
		{Name: "image", Docker: true, NoRoute: true},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// TestRefusals: each mistake is said in a sentence that names app and field.
func TestRefusals(t *testing.T) {
	app := func(lines ...string) string { return "applications:\n- name: a\n  " + strings.Join(lines, "\n  ") }
	tests := []struct{ name, in, want string }{
		{"not YAML", "applications: [", "the manifest is not valid YAML"},
		{"tab", "applications:\n\t- name: a", "the manifest is not valid YAML"},
		{"no map", "- a", "the manifest is not valid YAML"},
		{"empty", "", "Cannot parse manifest with no 'applications' field."},
		{"version", "version: 2\napplications: [{name: a}]", "Unsupported manifest schema version"},
		{"no name", "applications: [{memory: 1G}]", "For application at index 0: Name must not be empty"},
		{"name twice", "applications: [{name: a}, {name: a}]", "For application 'a': Name is used twice"},
		{"memory without unit", app("memory: 256"), `Process "web": Memory must use a supported unit: B, K, KB, M, MB, G, GB, T, or TB (field memory)`},
		{"memory below 1M", app("memory: 1K"), "Memory must be greater than 0MB (field memory)"},
		{"negative disk", app("disk_quota: -1G"), "Disk quota must be greater than 0MB (field disk_quota)"},
		{"too much", app("memory: 900T"), "Memory must be at most"},
		{"log rate", app("log-rate-limit-per-second: fast"), "(field log-rate-limit-per-second)"},
		{"instances", app("instances: -1"), "Instances must be between 0 and 10000 (field instances)"},
		{"instances as text", app("instances: many"), "Instances is not a number (field instances)"},
		{"timeout", app("timeout: 0"), "Timeout must be between 1 and 3600 (field timeout)"},
		{"health check", app("health-check-type: magic"), `Health check type must be "port", "process", or "http" (field health-check-type)`},
		{"endpoint", app("health-check-type: http", "health-check-http-endpoint: up"), "must be a valid URI path (field health-check-http-endpoint)"},
		{"endpoint without http", app("health-check-type: port", "health-check-http-endpoint: /up"), "(field health-check-type)"},
		{"process without type", app("processes: [{instances: 1}]"), "All Processes must specify a type (field processes[0].type)"},
		{"process twice", app("processes: [{type: b}, {type: b}]"), `Process "b" may only be present once`},
		{"process type", app("processes: [{type: 'a b'}]"), "Process type 'a b' must be"},
		{"process of a process", app("processes: [{type: b, memory: x}]"), `For application 'a': Process "b": Memory must use`},
		{"env", app("env: [a]"), "Env must be a map (field env)"},
		{"routes", app("routes: [a.example.com]"), "(field routes[0].route)"},
		{"protocol", app("routes: [{route: a.b, protocol: gopher}]"), "(field routes[0].protocol)"},
		{"services", app("services: [1]"), "(field services[0])"},
		{"sidecar", app("sidecars: [{command: x}]"), "Sidecar name can't be blank (field sidecars[0].name)"},
		{"sidecar types", app("sidecars: [{name: s, process_types: []}]"), "Process types must have at least 1 process_type (field process_types)"},
		{"routes and none", app("no-route: true", "random-route: true"), "no-route with routes"},
		{"random and default", app("random-route: true", "default-route: true"), "may not be used together"},
		{"flag", app("no-route: maybe"), "No route must be a boolean (field no-route)"},
		{"zone", app("stackato: {placement-zone: [a]}"), "Placement zone must be a string (field placement-zone)"},
		{"alias bomb", "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\napplications: [{name: a}]", "the manifest is not valid YAML"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse([]byte(tt.in))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	whole, err := os.ReadFile("testdata/whole.yml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte("applications: [{name: a, memory: 1.5G, env: {1: 2}}]"))
	f.Add([]byte("applications: [{name: a, <<: {memory: 1G}}]\n? [a]\n: b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data)
		var problems FieldErrors
		if err != nil {
			if !errors.Is(err, ErrSyntax) && (!errors.As(err, &problems) || len(problems) == 0) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		for _, a := range m.Applications {
			if a.Name == "" {
				t.Error("an app without a name")
			}
			for _, p := range a.Processes {
				if p.MemoryMB != nil && (*p.MemoryMB < 1 || *p.MemoryMB > maxSizeMB) || p.Instances != nil && (*p.Instances < 0 || *p.Instances > maxInstances) {
					t.Errorf("impossible values: %+v", p)
				}
			}
		}
	})
}

// TestDearDocuments: what is cheap to send and dear to decode is refused before
// it is decoded.
func TestDearDocuments(t *testing.T) {
	keys := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "k%d: 1,", i)
		}
		return b.String()
	}
	var laughs strings.Builder
	laughs.WriteString("a0: &a0 [x]\n")
	for i := range 9 {
		fmt.Fprintf(&laughs, "a%d: &a%d [%s]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d,", i), 9))
	}
	for name, in := range map[string]string{
		"merged again and again": "x: &x {" + keys(4000) + "}\n" + strings.Repeat("m: [{<<: *x}]\n", 1) + "l: [" + strings.Repeat("{<<: *x},", 4000) + "]",
		"aliases of aliases":     laughs.String(),
		"a map of many keys":     "x: {" + keys(20_000) + "}",
		"an anchor in itself":    "x: &x [*x]",
		"a long list":            "x: [" + strings.Repeat("1,", 200_000) + "]",
	} {
		if _, err := Decode([]byte(in)); !errors.Is(err, ErrSyntax) || !strings.Contains(err.Error(), errSize.Error()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	root, err := Decode([]byte("d: &d {memory: 1G}\napplications: [{name: a, <<: *d}, {name: b, <<: *d}]"))
	if apps, ok := root["applications"].([]any); err != nil || !ok || len(apps) != 2 || apps[1].(map[string]any)["memory"] != "1G" {
		t.Errorf("%v, %v", root, err)
	}
}
