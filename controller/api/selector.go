package api

import (
	"slices"
	"strings"

	"github.com/stackato/stackato/controller/cf"
)

// requirement is one part of a label selector.
type requirement struct {
	key    string
	values []string // nil asks whether the key exists
	not    bool
}

// matches follows Kubernetes, as Cloud Foundry does: "!=" and "notin" also
// match what has no such label.
func (q requirement) matches(labels map[string]string) bool {
	v, found := labels[q.key]
	if q.values != nil {
		found = found && slices.Contains(q.values, v)
	}
	return found != q.not
}

// parseSelector reads label_selector: "a=b,c!=d,e in (f,g),h notin (i),j,!k".
func parseSelector(s string) ([]requirement, error) {
	var out []requirement
	for _, part := range splitSelector(s) {
		q, good := parseRequirement(strings.TrimSpace(part))
		if !good {
			return nil, cf.ErrBadQuery.With("The query parameter is invalid: Label selector Invalid label_selector value")
		}
		out = append(out, q)
	}
	return out, nil
}

// splitSelector splits at commas outside of parentheses.
func splitSelector(s string) []string {
	var out []string
	depth, start := 0, 0
	for i, c := range s {
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			out = append(out, s[start:i])
			start = i + 1
		}
	}
	return append(out, s[start:])
}

func parseRequirement(s string) (requirement, bool) {
	if strings.HasSuffix(s, ")") {
		head, values, found := strings.Cut(strings.TrimSuffix(s, ")"), "(")
		fields := strings.Fields(head)
		if !found || len(fields) != 2 || fields[1] != "in" && fields[1] != "notin" {
			return requirement{}, false
		}
		q := requirement{key: fields[0], not: fields[1] == "notin", values: []string{}}
		for _, v := range strings.Split(values, ",") {
			q.values = append(q.values, strings.TrimSpace(v))
		}
		return q, goodKey(q.key)
	}
	if key, v, found := strings.Cut(s, "!="); found {
		return requirement{strings.TrimSpace(key), []string{strings.TrimSpace(v)}, true}, goodKey(strings.TrimSpace(key))
	}
	if key, v, found := strings.Cut(s, "="); found {
		v = strings.TrimSpace(strings.TrimPrefix(v, "="))
		return requirement{strings.TrimSpace(key), []string{v}, false}, goodKey(strings.TrimSpace(key))
	}
	key, not := strings.CutPrefix(s, "!")
	return requirement{key: strings.TrimSpace(key), not: not}, goodKey(strings.TrimSpace(key))
}

func goodKey(k string) bool {
	_, name, found := strings.Cut(k, "/")
	if !found {
		name = k
	}
	return labelName.MatchString(name)
}
