package test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Files of controller/cf that are not about a resource of the API.
var notResources = []string{
	"client",       // of the log-in service, which has its own endpoints
	"clouduser",    // likewise
	"doc",          //
	"error",        //
	"metadata",     // a part of most resources
	"packagefiles", // what an uploaded package consists of
	"secret",       //
	"token",        // of the log-in service
	"vcap",         // the environment of apps
}

// TestOneFilePerResource holds that each resource has one file in each layer,
// all of the same name: type, table and commands, endpoints.
func TestOneFilePerResource(t *testing.T) {
	for _, missing := range missingFiles(t, "../controller/cf", "../controller/state", "../controller/api") {
		t.Errorf("%s is missing: a new resource is a file in each layer (or not a resource: add it to notResources)", missing)
	}
}

// missingFiles lists the files that some layer lacks of a resource of the
// first one.
func missingFiles(t *testing.T, first string, layers ...string) (missing []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(first, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s (%v)", first, err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".go")
		if strings.HasSuffix(name, "_test") || slices.Contains(notResources, name) {
			continue
		}
		for _, layer := range layers {
			path := filepath.Join(layer, name+".go")
			if _, err := os.Stat(path); err != nil {
				missing = append(missing, path)
			}
		}
	}
	return missing
}

func TestOneFilePerResourceCanFail(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"cf/app.go", "cf/route.go", "cf/route_test.go", "cf/error.go", "state/app.go", "state/route.go", "api/app.go"} {
		path := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := missingFiles(t, filepath.Join(dir, "cf"), filepath.Join(dir, "state"), filepath.Join(dir, "api"))
	if want := []string{filepath.Join(dir, "api/route.go")}; !slices.Equal(got, want) {
		t.Errorf("missing %q, want %q", got, want)
	}
}
