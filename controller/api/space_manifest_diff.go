package api

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/stackato/stackato/controller/api/manifest"
	"github.com/stackato/stackato/controller/auth"
)

// difference is an entry of a manifest diff, after JSON Patch.
type difference struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Was   any    `json:"was,omitempty"`
	Value any    `json:"value,omitempty"`
}

func diffManifest(r *request) (response, error) {
	if err := r.inSpace(r.guid(), auth.SpaceRead, auth.AppSecrets, "Space"); err != nil {
		return response{}, err
	}
	data, err := r.manifestBody()
	if err != nil {
		return response{}, err
	}
	m, err := manifest.Parse(data)
	if err != nil {
		return response{}, manifestError(err)
	}
	root, err := manifest.Decode(data)
	if err != nil {
		return response{}, manifestError(err)
	}
	diff := []difference{}
	all, _ := root["applications"].([]any) // as Parse has seen it
	for i, app := range m.Applications {
		want, _ := all[i].(map[string]any)
		is, err := r.manifestFields(app.Name)
		if err != nil {
			return response{}, err
		}
		diff = append(diff, diffApp(fmt.Sprintf("/applications/%d", i), is, want)...)
	}
	return response{status: 201, body: map[string]any{"diff": diff}}, nil
}

// manifestFields is the space's app of a name as a manifest's plain values,
// nil if there is none.
func (r *request) manifestFields(name string) (map[string]any, error) {
	a, found := r.view.AppByName(r.guid(), name)
	if !found {
		return nil, nil
	}
	shown, err := r.manifestOf(a)
	if err != nil {
		return nil, err
	}
	data, err := yaml.Marshal(shown)
	if err != nil {
		return nil, fmt.Errorf("write a manifest: %w", err)
	}
	var out map[string]any
	if err := yaml.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("read a manifest: %w", err)
	}
	return out, nil
}

// diffed are the keys of an app that a diff looks at, besides those of the web
// process.
var diffed = []string{"buildpacks", "stack", "env", "metadata", "routes", "services", "sidecars", "processes"}

// diffApp compares what a manifest says; what it does not say stays.
func diffApp(path string, is, want map[string]any) []difference {
	var out []difference
	web := named(is["processes"], "type", "web")
	for _, key := range sortedKeys(want) {
		at := path + "/" + key
		switch {
		case key == "name" && is == nil:
			out = append(out, difference{Op: "add", Path: at, Value: want[key]})
		case key == "processes":
			out = append(out, diffNamed(at, "type", is[key], want[key])...)
		case key == "sidecars":
			out = append(out, diffNamed(at, "name", is[key], want[key])...)
		case key == "routes":
			out = append(out, diffNamed(at, "route", is[key], want[key])...)
		case slices.Contains(diffed, key):
			out = append(out, diffValue(at, is[key], want[key])...)
		case manifest.OfProcess(key):
			out = append(out, diffValue(at, web[strings.Replace(key, "disk-quota", "disk_quota", 1)], want[key])...)
		}
	}
	return out
}

// named finds the entry of a list of maps that has a name.
func named(list any, key, name string) map[string]any {
	entries, _ := list.([]any)
	for _, e := range entries {
		if m, isMap := e.(map[string]any); isMap && m[key] == name {
			return m
		}
	}
	return nil
}

// diffNamed compares lists of maps whose entries are known by a key.
func diffNamed(path, key string, is, want any) []difference {
	var out []difference
	entries, _ := want.([]any)
	for i, e := range entries {
		at := fmt.Sprintf("%s/%d", path, i)
		w, isMap := e.(map[string]any)
		name, _ := w[key].(string)
		was := named(is, key, name)
		if !isMap || was == nil {
			out = append(out, difference{Op: "add", Path: at, Value: e})
			continue
		}
		for _, field := range sortedKeys(w) {
			out = append(out, diffValue(at+"/"+field, was[field], w[field])...)
		}
	}
	return out
}

// diffValue compares maps key by key, and all else as a whole.
func diffValue(path string, is, want any) []difference {
	w, wantsMap := want.(map[string]any)
	i, isMap := is.(map[string]any)
	if wantsMap && (isMap || is == nil) {
		var out []difference
		for _, key := range sortedKeys(w) {
			out = append(out, diffValue(path+"/"+key, i[key], w[key])...)
		}
		return out
	}
	switch {
	case same(is, want):
		return nil
	case want == nil:
		return []difference{{Op: "remove", Path: path, Was: is}}
	case is == nil:
		return []difference{{Op: "add", Path: path, Value: want}}
	}
	return []difference{{Op: "replace", Path: path, Was: is, Value: want}}
}

// same compares "1G" with "1024M", and text with what YAML made a number of.
func same(a, b any) bool {
	if reflect.DeepEqual(a, b) {
		return true
	}
	return manifest.SameSize(a, b) || a != nil && b != nil && fmt.Sprint(a) == fmt.Sprint(b)
}
