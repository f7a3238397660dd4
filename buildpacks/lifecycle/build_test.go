package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/stackato/stackato/internal/buildinfo"
	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/staging"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var binary = staging.Buildpack{Name: "binary_buildpack", Builtin: "binary_buildpack"}

func TestBinaryWithProcfile(t *testing.T) {
	pkg := zipOf(t,
		entry{"run.sh", "#!/bin/sh\necho hi\n", 0o755},
		entry{"Procfile", "web: ./run.sh\nworker: ./run.sh --worker: now\n", 0o644},
		entry{"data/", "", 0},
		entry{"data/current", "../run.sh", fs.ModeSymlink | 0o777},
	)
	tr := newTrial(t, pkg, binary)
	got := tr.mustRun(t)
	want := staging.Result{
		BuildGUID:    "b1",
		ProcessTypes: map[string]string{"web": "./run.sh", "worker": "./run.sh --worker: now"},
		Buildpacks:   []staging.Detected{{Name: "binary_buildpack", Version: buildinfo.Version}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	droplet := unpacked(t, tr.droplet.Bytes())
	for name, want := range map[string]string{
		"./app/": "/", "./deps/": "/", "./profile.d/": "/", "./tmp/": "/", "./logs/": "/",
		"./app/run.sh": "#!/bin/sh\necho hi\n", "./app/data/current": "-> ../run.sh",
		"./staging_info.yml": "detected_buildpack: binary_buildpack\nstart_command: ./run.sh\n",
	} {
		if droplet[name] != want {
			t.Errorf("droplet: %s is %q, want %q", name, droplet[name], want)
		}
	}
	if tr.cache.Len() != 0 {
		t.Error("a cache without files was written")
	}
}

func TestSamePackageMakesTheSameDroplet(t *testing.T) {
	build := func() []byte {
		tr := newTrial(t, zipOf(t, entry{"b", "2", 0o644}, entry{"a/c", "1", 0o755}, entry{"Procfile", "web: ./a/c", 0o644}))
		tr.withPack(t, "maker", map[string]string{"compile": `date +%N >/dev/null; mkdir -p "$1/made"; echo x >"$1/made/file"`})
		tr.mustRun(t)
		return tr.droplet.Bytes()
	}
	one := build()
	if !bytes.Equal(one, build()) {
		t.Error("two builds of the same package made different droplets")
	}
}

func TestDetectTakesTheFirstThatSaysYes(t *testing.T) {
	tr := newTrial(t, zipOf(t, entry{"pom.xml", "<x/>", 0o644}))
	tr.Spec.Detect = true
	tr.withPack(t, "no", map[string]string{"detect": "exit 1", "compile": "exit 1"})
	tr.withPack(t, "yes", map[string]string{
		"detect":  `test -f "$1/pom.xml" && echo "Java 17"`,
		"compile": `echo "compiling in $1 with $COLOUR"; echo jar >"$1/app.jar"; echo kept >"$2/kept"`,
		"release": `printf -- '---\ndefault_process_types:\n  web: java -jar app.jar\n'`,
	})
	tr.withPack(t, "yes too", map[string]string{"detect": "exit 0", "compile": "exit 1"})
	got := tr.mustRun(t)
	want := staging.Result{
		BuildGUID: "b1", ProcessTypes: map[string]string{"web": "java -jar app.jar"},
		Buildpacks: []staging.Detected{{Name: "yes", DetectOutput: "Java 17"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if log := tr.log.String(); !strings.Contains(log, "compiling in "+tr.Home+"/app with green\n") {
		t.Errorf("log:\n%s", log)
	}
	if cache := unpacked(t, tr.cache.Bytes()); cache["./final/kept"] != "kept\n" {
		t.Errorf("cache: %v", cache)
	}
}

func TestNothingDetected(t *testing.T) {
	tr := newTrial(t, zipOf(t, entry{"readme", "", 0o644}),
		binary, staging.Buildpack{Name: "staticfile_buildpack", Builtin: "staticfile_buildpack"})
	tr.Spec.Detect = true
	f := tr.failsWith(t, staging.ErrNoAppDetected)
	if !strings.Contains(f.Error(), "not successfully detected by any available buildpack") ||
		!strings.Contains(tr.log.String(), "None of the buildpacks detected a compatible application") {
		t.Errorf("%v\n%s", f, tr.log.String())
	}
}

func TestSeveralBuildpacks(t *testing.T) {
	tr := newTrial(t, zipOf(t, entry{"app", "", 0o755}))
	tr.withPack(t, "tools", map[string]string{
		"supply": `
mkdir -p "$3/$4/bin" "$3/$4/profile.d"
printf '#!/bin/sh\necho from-tool\n' >"$3/$4/bin/tool"; chmod +x "$3/$4/bin/tool"
echo 'export TOOL=yes' >"$3/$4/profile.d/tool.sh"
printf 'name: tools\nversion: 1.2.3\n' >"$3/$4/config.yml"
printf 'processes:\n- type: clock\n  command: tick\n- type: proxy\n  command: envoy\n  limits: {memory: 32}\n  platforms: {cloudfoundry: {sidecar_for: [web]}}\n' >"$3/$4/launch.yml"
echo c >"$2/c"`,
		"finalize": "exit 1",
	})
	tr.withPack(t, "main", map[string]string{
		"supply":   `mkdir -p "$3/$4"; echo "$4" >"$1/index"`,
		"finalize": `"$3/0/bin/tool" >"$1/said"; echo 'export X=1' >"$5/x.sh"`,
		"release":  `echo 'default_process_types: {web: ./app, clock: overridden}'`,
	})
	got := tr.mustRun(t)
	want := staging.Result{
		BuildGUID:    "b1",
		ProcessTypes: map[string]string{"web": "./app", "clock": "tick"},
		Sidecars:     []instance.Sidecar{{Name: "proxy", Command: "envoy", MemoryMB: 32, ProcessTypes: []string{"web"}}},
		Buildpacks:   []staging.Detected{{Name: "tools", Version: "1.2.3"}, {Name: "main"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	droplet := unpacked(t, tr.droplet.Bytes())
	if droplet["./app/said"] != "from-tool\n" || droplet["./app/index"] != "1\n" || droplet["./profile.d/x.sh"] == "" || droplet["./deps/0/bin/tool"] == "" {
		t.Errorf("droplet: %v", droplet)
	}
}

// TestBuiltinAfterSupply: a built-in final buildpack makes what was supplied
// visible to the app.
func TestBuiltinAfterSupply(t *testing.T) {
	tr := newTrial(t, zipOf(t, entry{"Procfile", "web: tool", 0o644}))
	tr.withPack(t, "tools", map[string]string{"supply": `mkdir -p "$3/$4/bin" "$3/$4/profile.d"; echo 'echo' >"$3/$4/profile.d/a.sh"`})
	tr.Spec.Buildpacks = append(tr.Spec.Buildpacks, binary)
	tr.mustRun(t)
	droplet := unpacked(t, tr.droplet.Bytes())
	if got := droplet["./profile.d/000_multi-supply.sh"]; !strings.Contains(got, "export PATH=$DEPS_DIR/0/bin${PATH:+:$PATH}") {
		t.Errorf("profile script: %q", got)
	}
	if droplet["./profile.d/0_a.sh"] != "echo\n" {
		t.Errorf("droplet: %v", droplet)
	}
}

func TestSupplyIsAskedOfAllButTheLast(t *testing.T) {
	tr := newTrial(t, zipOf(t, entry{"app", "", 0o755}))
	tr.withPack(t, "old", map[string]string{"compile": "true"})
	tr.Spec.Buildpacks = append(tr.Spec.Buildpacks, binary)
	if f := tr.failsWith(t, staging.ErrCompileFailed); !strings.Contains(f.Error(), "does not support multi-buildpack apps") {
		t.Error(f)
	}
}

func TestFailuresOfPhases(t *testing.T) {
	pkg := func(t *testing.T) *os.File { return zipOf(t, entry{"x", "", 0o644}) }
	tests := []struct {
		name    string
		scripts map[string]string
		code    string
		log     string
	}{
		{"compile", map[string]string{"compile": "echo no such gem; exit 3"}, staging.ErrCompileFailed, "no such gem"},
		{"supply", map[string]string{"supply": "exit 3", "finalize": "true"}, staging.ErrCompileFailed, "Exit status 223"},
		{"neither", map[string]string{"detect": "true"}, staging.ErrCompileFailed, "neither bin/finalize nor bin/compile"},
		{"release", map[string]string{"compile": "true", "release": "exit 1"}, staging.ErrReleaseFailed, "Exit status 224"},
		{"release is no YAML", map[string]string{"compile": "true", "release": "echo ': : ['"}, staging.ErrReleaseFailed, "release output invalid"},
		{"endless release", map[string]string{"compile": "true", "release": "head -c 3000000 /dev/zero"}, staging.ErrReleaseFailed, "more than"},
		{"process type", map[string]string{"compile": "true", "release": "echo 'default_process_types: {\"a b\": x}'"}, staging.ErrReleaseFailed, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTrial(t, pkg(t))
			tr.withPack(t, "p", tt.scripts)
			tr.failsWith(t, tt.code)
			if !strings.Contains(tr.log.String(), tt.log) {
				t.Errorf("log without %q:\n%s", tt.log, tr.log.String())
			}
			if tr.droplet.Len() != 0 {
				t.Error("a failed build wrote a droplet")
			}
		})
	}
}

func TestCacheComesBack(t *testing.T) {
	first := newTrial(t, zipOf(t, entry{"x", "", 0o644}))
	script := map[string]string{"compile": `if [ -f "$2/n" ]; then echo "found $(cat "$2/n")"; else echo nothing; fi; echo 7 >"$2/n"`}
	first.withPack(t, "p", script)
	first.mustRun(t)
	second := newTrial(t, zipOf(t, entry{"x", "", 0o644}))
	second.withPack(t, "p", script)
	second.Cache = fileOf(t, first.cache.Bytes())
	second.mustRun(t)
	if !strings.Contains(first.log.String(), "nothing\n") || !strings.Contains(second.log.String(), "found 7\n") {
		t.Errorf("first:\n%s\nsecond:\n%s", first.log.String(), second.log.String())
	}

	broken := newTrial(t, zipOf(t, entry{"x", "", 0o644}))
	broken.withPack(t, "p", script)
	broken.Cache = fileOf(t, []byte("not a cache"))
	broken.mustRun(t)
	if log := broken.log.String(); !strings.Contains(log, "could not be used") || !strings.Contains(log, "nothing\n") {
		t.Errorf("with a broken cache:\n%s", log)
	}
}

func TestEnvironment(t *testing.T) {
	tr := newTrial(t, zipOf(t, entry{"x", "", 0o644}))
	tr.Certificates = "/etc/stackato/trust.pem"
	tr.Spec.HTTPProxy, tr.Spec.NoProxy = "http://proxy:3128", "10.0.0.0/8"
	tr.Spec.Env = map[string]string{"LANG": "de_DE.UTF-8", "HOME": "/root", "npm_config_registry": "https://npm.example.com", "VCAP_SERVICES": "{}", "no_proxy": "registry.example.com"}
	tr.withPack(t, "p", map[string]string{"compile": "env -0 | sort -z | tr '\\0' '\\n' >\"$1/env\""})
	tr.mustRun(t)
	got := map[string]string{}
	for line := range strings.Lines(unpacked(t, tr.droplet.Bytes())["./app/env"]) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		got[name] = value
	}
	want := map[string]string{
		"PATH": defaultPath, "LANG": "de_DE.UTF-8", "HOME": tr.Home, "USER": "vcap", "TMPDIR": tr.Temp,
		"CF_STACK": "cflinuxfs4", "STACKATO_APP_NAME": "shop", "MEMORY_LIMIT": "512m",
		"npm_config_registry": "https://npm.example.com", "VCAP_SERVICES": "{}", "SOURCE_DATE_EPOCH": "315532801",
		"http_proxy": "http://proxy:3128", "https_proxy": "http://proxy:3128",
		"HTTP_PROXY": "http://proxy:3128", "HTTPS_PROXY": "http://proxy:3128",
		"no_proxy": "registry.example.com", "NO_PROXY": "registry.example.com", // the app's wins, in both spellings
	}
	for _, name := range TrustVariables {
		want[name] = "/etc/stackato/trust.pem"
	}
	maps.DeleteFunc(got, func(name, _ string) bool {
		return name == "_" || name == "SHLVL" || name == "PWD" || name == "OLDPWD" || name == "BUILDPACK_DIR"
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestCancelEndsEverything: also what a script has started in the background.
func TestCancelEndsEverything(t *testing.T) {
	tr := newTrial(t, zipOf(t, entry{"x", "", 0o644}))
	tr.withPack(t, "p", map[string]string{"compile": `sleep 1000 & echo started; wait`})
	ctx, cancel := context.WithCancel(t.Context())
	began := &trigger{say: "started", then: cancel}
	tr.Log = began
	if _, err := tr.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want %v", err, context.Canceled)
	}
}

// trigger calls a function when something was written.
type trigger struct {
	say  string
	then func()
	seen bytes.Buffer
}

func (w *trigger) Write(p []byte) (int, error) {
	w.seen.Write(p)
	if strings.Contains(w.seen.String(), w.say) {
		w.then()
	}
	return len(p), nil
}

func TestDiskLimit(t *testing.T) {
	old := looks
	looks.pause, looks.share = time.Millisecond, 1
	t.Cleanup(func() { looks = old })
	tr := newTrial(t, zipOf(t, entry{"x", "", 0o644}))
	tr.Spec.DiskMB = 8
	tr.withPack(t, "p", map[string]string{"compile": `head -c 20000000 /dev/urandom >"$1/big"; sleep 1000`})
	if f := tr.failsWith(t, staging.ErrInsufficient); !strings.Contains(f.Error(), "disk limit of 8 MB") {
		t.Error(f)
	}
}
