package node

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Groups maps a group name to its roles. A group name is accepted wherever a
// role is.
type Groups map[string]RoleSet

// BuiltinGroups returns the groups that every cluster has.
func BuiltinGroups() Groups {
	return Groups{
		"data-services": NewRoleSet(MySQL, PostgreSQL, Redis, MongoDB, Rabbit, Filesystem),
		"core":          NewRoleSet(Controller, Router),
		"micro":         NewRoleSet(Base, Controller, Router, DEA, MySQL, PostgreSQL, Filesystem, MDNS),
	}
}

// maxGroupsFile bounds what ParseGroups reads, in bytes.
const maxGroupsFile = 64 << 10

// ParseGroups reads administrators' groups (role_groups.yml: a map from group
// name to a list of role or built-in group names) and returns them together
// with the built-in ones. Errors name the line and the name at fault. A group
// cannot take the name of a role or of a built-in group.
func ParseGroups(data []byte) (Groups, error) {
	out := BuiltinGroups()
	if len(data) > maxGroupsFile {
		return nil, fmt.Errorf("the file has %d bytes, at most %d are read", len(data), maxGroupsFile)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	if doc.Kind == 0 { // an empty file
		return out, nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: want a map from group name to a list of roles", root.Line)
	}
	seen := map[string]int{}
	for i := 0; i < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if line, dup := seen[key.Value]; dup {
			return nil, fmt.Errorf("line %d: group %q is defined already on line %d", key.Line, key.Value, line)
		}
		seen[key.Value] = key.Line
		set, err := parseGroup(key, value)
		if err != nil {
			return nil, err
		}
		out[key.Value] = set
	}
	return out, nil
}

func parseGroup(key, value *yaml.Node) (RoleSet, error) {
	if _, err := ParseRole(key.Value); err == nil {
		return 0, fmt.Errorf("line %d: group %q has the name of a role", key.Line, key.Value)
	}
	builtin := BuiltinGroups()
	if _, ok := builtin[key.Value]; ok {
		return 0, fmt.Errorf("line %d: group %q is built in and cannot be redefined", key.Line, key.Value)
	}
	if value.Kind != yaml.SequenceNode || len(value.Content) == 0 {
		return 0, fmt.Errorf("line %d: group %q wants a list of roles, such as [dea, router]", value.Line, key.Value)
	}
	var set RoleSet
	for _, item := range value.Content {
		s, err := builtin.resolve(item.Value)
		if err != nil {
			return 0, fmt.Errorf("line %d: group %q: %w", item.Line, key.Value, err)
		}
		set = set.With(s)
	}
	return set, nil
}

// Resolve turns role and group names into a set. At least one name is needed;
// an unknown one is an error with a suggestion, and nothing is resolved.
func (g Groups) Resolve(names ...string) (RoleSet, error) {
	if len(names) == 0 {
		return 0, errors.New("name at least one role or group")
	}
	var set RoleSet
	for _, n := range names {
		s, err := g.resolve(n)
		if err != nil {
			return 0, err
		}
		set = set.With(s)
	}
	return set, nil
}

func (g Groups) resolve(name string) (RoleSet, error) {
	if s, ok := g[name]; ok {
		return s, nil
	}
	if Role(name).bit() >= 0 {
		return NewRoleSet(Role(name)), nil
	}
	if name == "primary" {
		return 0, errors.New("primary is not assigned, it is elected: give the node the controller role")
	}
	known := append(AllRoles().Strings(), slices.Sorted(maps.Keys(g))...)
	return 0, unknownName("role or group", name, known)
}

// unknownName makes the error for a name that is not in known, with the
// nearest known name when one is near enough.
func unknownName(kind, name string, known []string) error {
	best, dist := "", len(name)/2+1
	for _, k := range known {
		if d := editDistance(name, k); d < dist {
			best, dist = k, d
		}
	}
	if best != "" {
		return fmt.Errorf("unknown %s %q: did you mean %q?", kind, name, best)
	}
	return fmt.Errorf("unknown %s %q: known are %s", kind, name, strings.Join(known, ", "))
}

// editDistance counts the insertions, deletions, replacements and swaps of
// neighbours between two short names, in bytes (optimal string alignment).
func editDistance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
