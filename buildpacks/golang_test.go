package buildpacks

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

func module(t *testing.T, text string) *modfile.File {
	t.Helper()
	mod, err := readModule(newApp(t, map[string]string{"go.mod": text}).Context)
	if err != nil {
		t.Fatal(err)
	}
	return mod
}

func TestWantedGo(t *testing.T) {
	for _, tt := range []struct{ mod, exact, want string }{
		{"module m\n", "", ""},
		{"module m\ngo 1.19\n", "", "go1.19"},
		{"module m\ngo 1.21\n", "", "go1.21.0"},
		{"module m\ngo 1.22.3\n", "", "go1.22.3"},
		{"module m\ngo 1.22\ntoolchain go1.24.1\n", "", "go1.24.1"},
		{"module m\ngo 1.22\ntoolchain default\n", "", "go1.22.0"},
		{"module m\ngo 1.22\nsorcery (\n\tx v1\n)\n", "", "go1.22.0"},
		{"module m\ngo 1.22\n", "go1.23", "go1.23.0"},
		{"module m\ngo 1.22\n", "1.23.4", "go1.23.4"},
	} {
		if got := wantedGo(module(t, tt.mod), tt.exact); got != tt.want {
			t.Errorf("%q with %q: %q, want %q", tt.mod, tt.exact, got, tt.want)
		}
	}
}

func TestMainOf(t *testing.T) {
	for _, tt := range []struct {
		names  []string
		module string
		want   string
	}{
		{[]string{"a", "shop"}, "shop", "shop"},
		{[]string{"migrate", "web"}, "shop", "web"},
		{[]string{"migrate", "server"}, "shop", "server"},
		{[]string{"only"}, "shop", "only"},
	} {
		if got := mainOf(tt.names, tt.module); got != tt.want {
			t.Errorf("%v of %s: %s", tt.names, tt.module, got)
		}
	}
	if got := moduleName(module(t, "module example.com/shop/v2\n")); got != "shop" {
		t.Errorf("name of a major version: %q", got)
	}
}

func TestProxies(t *testing.T) {
	got := proxies("https://one.example.com/,direct|http://two.example.com,off")
	if want := []string{"https://one.example.com", "http://two.example.com"}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if got := proxies(""); !slices.Equal(got, []string{defaultProxy}) {
		t.Errorf("default: %v", got)
	}
}

// toolchainZip is what a module proxy gives, with this program as bin/go.
func toolchainZip(t *testing.T, v, program string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for name, body := range map[string]string{"bin/go": program, "VERSION": "x", "pkg/tool/a/compile": "tool"} {
		f, err := w.Create(toolchainModule + "@" + v + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = f.Write([]byte(body))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestToolchainFromTheProxy(t *testing.T) {
	v := "v0.0.1-go1.22.0." + runtime.GOOS + "-" + runtime.GOARCH
	raw := toolchainZip(t, v, "program")
	fetched := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/"+toolchainModule+"/@v/"+v+".zip" {
			http.NotFound(w, r)
			return
		}
		fetched++
		_, _ = w.Write(raw)
	}))
	t.Cleanup(func() { server.Close(); httpClient.CloseIdleConnections() })
	a := newApp(t, map[string]string{"go.mod": "module m\ngo 1.22\n"})
	a.Run = func(_ context.Context, c Command) error {
		fmt.Fprintln(c.Stdout, "go1.19.8")
		return nil
	}
	env := map[string]string{"PATH": "/bin", "GOPROXY": server.URL + "/nothing," + server.URL, "GOSUMDB": "off"}
	at, err := chooseGo(t.Context(), a.Context, module(t, "module m\ngo 1.22\n"), env)
	if err != nil || at != "1.22.0" {
		t.Fatalf("%q, %v", at, err)
	}
	dir, _, _ := strings.Cut(env["PATH"], ":")
	if info, err := os.Stat(filepath.Join(dir, "go")); err != nil || info.Mode().Perm()&0o111 == 0 {
		t.Errorf("%s/go: %v %v", dir, info, err)
	}
	if _, err := chooseGo(t.Context(), a.Context, module(t, "module m\ngo 1.22\n"), env); err != nil || fetched != 1 {
		t.Errorf("fetched %d times (%v)", fetched, err)
	}

	// The stack's is enough.
	if at, err := chooseGo(t.Context(), a.Context, module(t, "module m\ngo 1.18\n"), env); err != nil || at != "1.19.8" {
		t.Errorf("%q, %v", at, err)
	}

	// What the checksum database does not confirm is not used.
	env["GOSUMDB"] = ""
	b := newApp(t, nil)
	b.Run = a.Run
	if _, err := chooseGo(t.Context(), b.Context, module(t, "module m\ngo 1.22\n"), env); err == nil || !strings.Contains(err.Error(), "checksum database") {
		t.Errorf("error %v", err)
	}
	if left := list(t, filepath.Join(b.Cache, "go")); len(left) != 0 {
		t.Errorf("kept: %v", left)
	}
}

func TestGoBuilds(t *testing.T) {
	a := newApp(t, map[string]string{"go.mod": "module example.com/shop\ngo 1.18\n", "main.go": "package main", "vendor/modules.txt": ""})
	var built Command
	a.Run = func(_ context.Context, c Command) error {
		if c.Args[1] == "env" {
			fmt.Fprintln(c.Stdout, "go1.19.8")
			return nil
		}
		built = c
		return os.WriteFile(filepath.Join(strings.TrimSuffix(c.Args[5], "/"), "shop"), []byte("program"), 0o755)
	}
	if err := (Golang{}).Finalize(t.Context(), a.Context); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(built.Env["GOFLAGS"], "-mod=vendor") || built.Env["GOTOOLCHAIN"] != "local" || built.Args[len(built.Args)-1] != "." {
		t.Errorf("%+v", built)
	}
	release, err := (Golang{}).Release(t.Context(), a.Context)
	if err != nil || release.ProcessTypes["web"] != "./bin/shop" || a.text(t, "bin/shop") != "program" {
		t.Errorf("%+v, %v", release, err)
	}
	a.Env["GO_INSTALL_PACKAGE_SPEC"] = "-exec=evil"
	if err := (Golang{}).Finalize(t.Context(), a.Context); err == nil {
		t.Error("an option is a package")
	}
}
