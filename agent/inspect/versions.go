package inspect

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/supervise"
)

// Program is a program that the agent runs.
type Program struct {
	Need    supervise.Requirement
	Needed  bool   // by this node's roles
	Version string // that will be run, "" if none
	Path    string
	Err     error // why none will do, see supervise.Locate
}

func (env Env) versions(ctx context.Context) []local.Finding {
	parts := []string{"agent " + env.Version}
	var out []local.Finding
	switch {
	case env.Programs == nil && env.Configured:
		out = env.nothing()
	case env.Programs != nil:
		for _, p := range env.Programs(ctx) {
			out = append(out, judgeProgram(p)...)
			if p.Version != "" {
				parts = append(parts, p.Need.Name+" "+p.Version)
			}
		}
	}
	out = append(out, env.otherAgents()...)
	if len(out) > 0 {
		return out
	}
	return ok("%s", strings.Join(parts, ", "))
}

// judgeProgram returns what is wrong with a program.
func judgeProgram(p Program) []local.Finding {
	if !p.Needed {
		return nil
	}
	n := p.Need
	remedy := fmt.Sprintf("put %s %s or later, but before %s, into /opt/stackato/bin or on PATH, then: kato process restart %s", n.Name, n.Min, n.Below, n.Name)
	switch {
	case p.Err != nil:
		return failed(remedy, "%v", p.Err)
	case p.Version == "":
		return failed(remedy, "there is no %s", n.Name)
	}
	v, err := supervise.ParseVersion(p.Version)
	if err != nil {
		return failed(remedy, "%s: %v", n.Name, err)
	}
	if !n.Satisfied(v) {
		return failed(remedy, "%s is %s (%s), needed is %s or later, but before %s", n.Name, v, p.Path, n.Min, n.Below)
	}
	return nil
}

// otherAgents compares the agents' versions across the cluster.
func (env Env) otherAgents() []local.Finding {
	nodes := map[string][]string{}
	for _, n := range env.Nodes {
		v := n.Version
		if n.ID == env.Self.ID {
			v = env.Version
		}
		nodes[v] = append(nodes[v], n.Name)
	}
	if len(nodes) < 2 {
		return nil
	}
	versions := slices.SortedFunc(maps.Keys(nodes), compareVersions)
	var parts, behind []string
	for i, v := range versions {
		slices.Sort(nodes[v])
		parts = append(parts, fmt.Sprintf("%s on %s", v, list(nodes[v])))
		if i < len(versions)-1 {
			behind = append(behind, nodes[v]...)
		}
	}
	return warned(fmt.Sprintf("install %s on %s, one node after the other, the Primary last", versions[len(versions)-1], list(behind)),
		"agents differ: %s", strings.Join(parts, "; "))
}

func compareVersions(a, b string) int {
	v, errA := supervise.ParseVersion(a)
	w, errB := supervise.ParseVersion(b)
	if errA == nil && errB == nil && v != w {
		if v.Before(w) {
			return -1
		}
		return 1
	}
	return strings.Compare(a, b)
}
