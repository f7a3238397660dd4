package api

import (
	"regexp"
	"slices"
	"strings"

	"github.com/stackato/stackato/controller/cf"
)

// metadataBody is "metadata" of a body.
type metadataBody struct {
	Labels      map[string]*string `json:"labels"`
	Annotations map[string]*string `json:"annotations"`
}

var (
	labelName   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$`)
	labelPrefix = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)+$`)
)

// patch checks the keys and values; a nil body changes nothing.
func (m *metadataBody) patch() (cf.MetadataPatch, error) {
	if m == nil {
		return cf.MetadataPatch{}, nil
	}
	var p problems
	for _, key := range sortedKeys(m.Labels) {
		p = append(p, keyProblems("label", key)...)
		if v := m.Labels[key]; v != nil && *v != "" && (len(*v) > 63 || !labelName.MatchString(*v)) {
			p = append(p, "Metadata label value error: '"+cut(*v)+"' must be at most 63 letters, digits, '-', '_' or '.', and begin and end with a letter or digit")
		}
	}
	for _, key := range sortedKeys(m.Annotations) {
		p = append(p, keyProblems("annotation", key)...)
		if v := m.Annotations[key]; v != nil && len(*v) > 5000 {
			p = append(p, "Metadata annotation value error: '"+cut(*v)+"' is greater than 5000 characters")
		}
	}
	p.check(len(m.Labels) <= 200 && len(m.Annotations) <= 200, "Metadata can hold at most 200 labels and 200 annotations")
	return cf.MetadataPatch{Labels: m.Labels, Annotations: m.Annotations}, p.err()
}

// fresh is patch for a new resource.
func (m *metadataBody) fresh() (cf.Metadata, error) {
	p, err := m.patch()
	return cf.Metadata{}.Patched(p), err
}

func keyProblems(kind, key string) problems {
	var p problems
	prefix, name, hasPrefix := strings.Cut(key, "/")
	if !hasPrefix {
		prefix, name = "", key
	}
	fail := func(why string) { p = append(p, "Metadata "+kind+" key error: '"+cut(key)+"' "+why) }
	switch {
	case strings.Contains(name, "/"):
		fail("has more than one '/'")
	case name == "":
		fail("has no name")
	case len(name) > 63:
		fail("is greater than 63 characters")
	case !labelName.MatchString(name):
		fail("contains invalid characters")
	case hasPrefix && (len(prefix) > 253 || !labelPrefix.MatchString(prefix)):
		fail("has a prefix that is no DNS name")
	case prefix == "cloudfoundry.org":
		fail("uses the reserved prefix 'cloudfoundry.org'")
	}
	return p
}

// cut shortens what a message repeats.
func cut(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
