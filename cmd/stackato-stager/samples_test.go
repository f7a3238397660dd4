package main

import (
	"archive/zip"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stackato/stackato/buildpacks"
	"github.com/stackato/stackato/wire/staging"
)

// answer starts the app in its droplet, asks it once and prints what it said.
const answer = `
bash -c "$COMMAND" >/tmp/log 2>&1 &
for i in $(seq 300); do curl -s -o /dev/null localhost:8080 && break; sleep 0.1; done
curl -s localhost:8080 || cat /tmp/log
kill %1; wait %1 || true
`

// sample stages a folder of samples/ and starts it.
func (y *yard) sample(t *testing.T, name string, more ...string) (log, said string) {
	t.Helper()
	y.spec.Package = y.add(packaged(t, "../../samples/"+name))
	y.spec.Detect = name != "binary"
	y.spec.Buildpacks = []staging.Buildpack{{Name: "binary_buildpack", Builtin: "binary_buildpack"}}
	if y.spec.Detect {
		y.spec.Buildpacks = nil
		for _, b := range buildpacks.Names() {
			y.spec.Buildpacks = append(y.spec.Buildpacks, staging.Buildpack{Name: b, Builtin: b})
		}
	}
	y.spec.Env = map[string]string{}
	for _, name := range []string{"npm_config_registry", "GOPROXY"} {
		if value := os.Getenv(name); value != "" {
			y.spec.Env[name] = value
		}
	}
	result, log := y.stage(t, more...)
	if result.Error != "" {
		t.Fatalf("%+v\n%s", result, log)
	}
	return log, y.inDroplet(t, "export COMMAND='"+result.ProcessTypes["web"]+"'\n"+answer)
}

// packaged is what the cf command uploads of a folder.
func packaged(t *testing.T, dir string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		h, err := zip.FileInfoHeader(info)
		if err != nil {
			return err
		}
		if h.Name, err = filepath.Rel(dir, p); err != nil {
			return err
		}
		out, err := w.CreateHeader(h)
		if err != nil {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(out, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestSamples stages and starts the samples that need nothing from elsewhere.
func TestSamples(t *testing.T) {
	for name, want := range map[string]string{
		"static": "<h1>Hello from Stackato</h1>", "binary": "Hello from instance ?", "python": "hello from Python 3.",
	} {
		t.Run(name, func(t *testing.T) {
			log, said := newYard(t, "small").sample(t, name)
			if !strings.Contains(said, want) {
				t.Errorf("it says %q; staging said:\n%s", said, log)
			}
		})
	}
}

// TestSamplesWithDependencies stages those that fetch packages, in the full
// stack and in the small one, which has neither Node.js nor Go.
func TestSamplesWithDependencies(t *testing.T) {
	if os.Getenv("STACKATO_TEST_LONG") == "" {
		t.Skip("fetches packages: set STACKATO_TEST_LONG=1")
	}
	for _, variant := range []string{"full", "small"} {
		for name, want := range map[string]string{"node": "Hello from Node.js v", "go": "Hello from go1."} {
			t.Run(variant+"/"+name, func(t *testing.T) {
				y := newYard(t, variant)
				y.memory, y.spec.MemoryMB, y.spec.DiskMB = "1024m", 1024, 4096
				y.trustHost(t)
				log, said := y.sample(t, name)
				if !strings.Contains(said, want) {
					t.Errorf("it says %q; staging said:\n%s", said, log)
				}
				t.Logf("%s\n%s", log, said)
				again := newYard(t, variant)
				again.memory, again.spec.MemoryMB, again.spec.DiskMB = y.memory, 1024, 4096
				again.certificates = y.certificates
				again.spec.Cache = again.add(y.uploaded("cache"))
				if _, said := again.sample(t, name); !strings.Contains(said, want) {
					t.Errorf("with the build cache it says %q", said)
				}
			})
		}
	}
}

// trustHost makes the fence give what this machine trusts, as a node's does.
func (y *yard) trustHost(t *testing.T) {
	t.Helper()
	raw, err := os.ReadFile(systemTrust)
	if err != nil {
		t.Skip(err)
	}
	y.certificates = string(raw)
}
