package buildpacks

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/Masterminds/semver/v3"
	"github.com/google/go-cmp/cmp"
)

func TestNodeRange(t *testing.T) {
	for text, fits := range map[string]map[string]bool{
		"":              nil,
		"latest":        nil,
		"18.x":          {"18.20.4": true, "20.1.0": false},
		"^18.2.0":       {"18.2.0": true, "18.1.0": false, "19.0.0": false},
		">=14 <19":      {"18.0.0": true, "20.0.0": false},
		">= 18":         {"22.0.0": true, "16.0.0": false},
		"16 || 18":      {"18.5.0": true, "17.0.0": false},
		"18.0.0 - 20.x": {"19.0.0": true, "21.0.0": false},
		"~20.1":         {"20.1.9": true, "20.2.0": false},
	} {
		want, err := nodeRange(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if (want == nil) != (fits == nil) {
			t.Errorf("%q: %v", text, want)
		}
		for v, ok := range fits {
			if want.Check(semver.MustParse(v)) != ok {
				t.Errorf("%q: %s fits is %t", text, v, !ok)
			}
		}
	}
	if _, err := nodeRange("eighteen"); err == nil {
		t.Error("a word is a range")
	}
}

func TestNpmInstall(t *testing.T) {
	for name, tt := range map[string]struct {
		files []string
		want  string
		warns bool
	}{
		"locked":     {[]string{"package-lock.json", "node_modules/a/x"}, "npm ci", false},
		"shrinkwrap": {[]string{"npm-shrinkwrap.json"}, "npm ci", false},
		"vendored":   {[]string{"node_modules/a/x"}, "npm rebuild", false},
		"free":       {nil, "npm install --no-package-lock", true},
		"yarn":       {[]string{"yarn.lock"}, "npm install --no-package-lock", true},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{}
			for _, f := range tt.files {
				files[f] = ""
			}
			a := newApp(t, files)
			if got := strings.Join(a.npmInstall(), " "); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			if warned := strings.Contains(a.log.String(), "WARNING"); warned != tt.warns {
				t.Errorf("log: %q", a.log.String())
			}
		})
	}
}

func TestStackNodeIsTakenWhereItFits(t *testing.T) {
	a := newApp(t, map[string]string{
		"package.json":      `{"engines": {"node": ">=16"}, "scripts": {"start": "node .", "heroku-postbuild": "make"}}`,
		"package-lock.json": "{}",
	})
	var ran []string
	a.Run = func(_ context.Context, c Command) error {
		ran = append(ran, strings.Join(c.Args, " "))
		if c.Args[0] == "node" {
			fmt.Fprintln(c.Stdout, "v18.20.4")
		}
		if c.Args[0] == "npm" && c.Args[1] == "ci" && c.Env["NODE_ENV"] != "production" {
			return errors.New("not for production")
		}
		return nil
	}
	if err := errors.Join((Nodejs{}).Supply(t.Context(), a.Context), (Nodejs{}).Finalize(t.Context(), a.Context)); err != nil {
		t.Fatal(err)
	}
	want := []string{"node --version", "npm --version", "npm ci", "npm run heroku-postbuild"}
	if diff := cmp.Diff(want, ran); diff != "" {
		t.Error(diff)
	}
	release, err := (Nodejs{}).Release(t.Context(), a.Context)
	if err != nil || release.ProcessTypes["web"] != "npm start" {
		t.Errorf("%+v, %v", release, err)
	}
}

func TestBrokenPackageJSON(t *testing.T) {
	for name, text := range map[string]string{"no JSON": "{", "range": `{"engines": {"node": "eighteen"}}`} {
		if err := (Nodejs{}).Supply(t.Context(), newApp(t, map[string]string{"package.json": text}).Context); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// tarball makes a package of a registry and its checksum.
func tarball(t *testing.T, files map[string]string) (raw []byte, integrity string) {
	t.Helper()
	var buf bytes.Buffer
	zipped := gzip.NewWriter(&buf)
	w := tar.NewWriter(zipped)
	for name, body := range files {
		if err := w.WriteHeader(&tar.Header{Name: "package/" + name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(body))}); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte(body))
	}
	if err := errors.Join(w.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512(buf.Bytes())
	return buf.Bytes(), "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
}

// newRegistry serves packages with these versions and the Node.js they need.
// asked gets every path.
func newRegistry(t *testing.T, asked *[]string, packages map[string]map[string]string, files map[string]string) string {
	t.Helper()
	raw, integrity := tarball(t, files)
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.URL.Path)
		if strings.HasSuffix(r.URL.Path, ".tgz") {
			_, _ = w.Write(raw)
			return
		}
		versions := map[string]npmPackage{}
		for v, needs := range packages[strings.TrimPrefix(r.URL.Path, "/")] {
			p := npmPackage{Version: v}
			p.Engines.Node, p.Dist.Tarball, p.Dist.Integrity = needs, server.URL+r.URL.Path+"-"+v+".tgz", integrity
			versions[v] = p
		}
		if len(versions) == 0 {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"versions": versions})
	}))
	t.Cleanup(func() { server.Close(); httpClient.CloseIdleConnections() })
	return server.URL
}

func TestNodeFromTheRegistry(t *testing.T) {
	node := nodePackages[runtime.GOARCH]
	if node == "" {
		t.Skip("no Node.js for this platform")
	}
	var asked []string
	registry := newRegistry(t, &asked, map[string]map[string]string{
		node:  {"20.1.0": "", "20.9.0": "", "20.10.0-rc.1": "", "22.0.0": "", "nonsense": ""},
		"npm": {"9.0.0": "^18 || ^20", "10.0.0": ">=18", "11.0.0": ">=22", "12.0.0": ""},
	}, map[string]string{"bin/node": "node", "bin/npm-cli.js": "npm", "bin/npx-cli.js": "npx", "share/man": "much", "../../escape": "x"})
	a := newApp(t, map[string]string{"package.json": `{"engines": {"node": "20.x"}}`})
	a.Env["npm_config_registry"] = registry
	if err := (Nodejs{}).Supply(t.Context(), a.Context); err == nil || !strings.Contains(err.Error(), "escapes") {
		t.Fatalf("a package that leads out: %v", err)
	}

	asked = nil
	registry = newRegistry(t, &asked, map[string]map[string]string{
		node:  {"20.1.0": "", "20.9.0": "", "20.10.0-rc.1": "", "22.0.0": "", "nonsense": ""},
		"npm": {"9.0.0": "^18 || ^20", "10.0.0": ">=18", "11.0.0": ">=22", "12.0.0": ""},
	}, map[string]string{"bin/node": "node", "bin/npm-cli.js": "npm", "bin/npx-cli.js": "npx", "share/man": "much"})
	a = newApp(t, map[string]string{"package.json": `{"engines": {"node": "20.x"}}`})
	a.Env["npm_config_registry"] = registry
	if err := os.MkdirAll(filepath.Join(a.Cache, "node"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(a.Cache, "node", node+"-18.0.0.tgz"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := (Nodejs{}).Supply(t.Context(), a.Context); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(asked, "/"+node+"-20.9.0.tgz") || !slices.Contains(asked, "/npm-10.0.0.tgz") {
		t.Errorf("asked for %v", asked)
	}
	for name, want := range map[string]string{"node": "node", "npm": "npm", "npx": "npx"} {
		if raw, err := os.ReadFile(filepath.Join(a.Dep(), "bin", name)); err != nil || string(raw) != want {
			t.Errorf("bin/%s is %q (%v)", name, raw, err)
		}
	}
	if got := list(t, filepath.Join(a.Cache, "node")); !slices.Equal(got, []string{node + "-20.9.0.tgz", "npm-10.0.0.tgz"}) {
		t.Errorf("cache: %v", got)
	}

	// The next build has the cache.
	again := newApp(t, map[string]string{"package.json": `{"engines": {"node": "20.x"}}`})
	again.Cache, again.Env["npm_config_registry"], asked = a.Cache, registry, nil
	if err := (Nodejs{}).Supply(t.Context(), again.Context); err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(asked, func(path string) bool { return strings.HasSuffix(path, ".tgz") }) {
		t.Errorf("fetched again: %v", asked)
	}

	none := newApp(t, map[string]string{"package.json": `{"engines": {"node": "99"}}`})
	none.Env["npm_config_registry"] = registry
	if err := (Nodejs{}).Supply(t.Context(), none.Context); err == nil || !strings.Contains(err.Error(), "no version of "+node+" that fits") {
		t.Errorf("error %v", err)
	}
}

func TestCheckIntegrity(t *testing.T) {
	raw, integrity := tarball(t, map[string]string{"a": "b"})
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := checkIntegrity(file, "sha1-abc "+integrity); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "sha1-abc", "sha512-!!", "sha512-" + base64.StdEncoding.EncodeToString(make([]byte, 64))} {
		if checkIntegrity(file, bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
