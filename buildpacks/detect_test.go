package buildpacks

import (
	"slices"
	"testing"
)

func TestDetect(t *testing.T) {
	for file, want := range map[string][]string{
		"Staticfile":       {"staticfile_buildpack"},
		"package.json":     {"nodejs_buildpack"},
		"go.mod":           {"go_buildpack"},
		"requirements.txt": {"python_buildpack"},
		"setup.py":         {"python_buildpack"},
		"Pipfile":          {"python_buildpack"},
		"pyproject.toml":   nil, // without a project it only configures tools
		"Procfile":         nil, // binary is never taken unless it is named
		"Staticfile/x":     nil, // a folder is no Staticfile
	} {
		t.Run(file, func(t *testing.T) {
			a := newApp(t, map[string]string{file: ""})
			var got []string
			for _, name := range Names() {
				found, ok, err := Builtin(name).Detect(t.Context(), a.Context)
				if err != nil {
					t.Fatal(err)
				}
				if ok {
					got = append(got, name)
				}
				if ok && found == "" {
					t.Errorf("%s does not say what it found", name)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("detected by %v, want %v", got, want)
			}
		})
	}
}

func TestBuiltin(t *testing.T) {
	if Builtin("nonsense") != nil || Builtin("") != nil {
		t.Error("an unknown name is a buildpack")
	}
	if Builtin("go") == nil || Builtin("go_buildpack") == nil {
		t.Error("a buildpack is not found by both its names")
	}
}
