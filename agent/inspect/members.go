package inspect

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
)

// Seen is a node as gossip sees it.
type Seen struct {
	ID      node.ID // "" if it is known by name only
	Name    string
	Address string // IPv4, "" if not known
	State   string // "alive", "suspect", "dead", "left", "failed", …
}

func (env Env) gossip(ctx context.Context) []local.Finding {
	return env.compareMembers(ctx, "gossip", env.Gossip, "open 7301/tcp and udp between all nodes; look at the agent there: kato status --node N")
}

func (env Env) consul(ctx context.Context) []local.Finding {
	return env.compareMembers(ctx, "Consul", env.Consul, "open 8301/tcp and udp between all nodes; look at Consul there: kato process list --node N")
}

func (env Env) compareMembers(ctx context.Context, who string, ask func(context.Context) ([]Seen, error), remedy string) []local.Finding {
	if !env.Configured || ask == nil {
		return env.nothing()
	}
	seen, err := ask(ctx)
	if err != nil {
		return failed("see whether it runs: kato process list", "%s does not tell its members: %v", who, err)
	}
	return judgeMembers(who, env.Self.ID, env.Nodes, seen, remedy)
}

// judgeMembers compares whom gossip sees with the nodes table, which is the
// truth.
func judgeMembers(who string, self node.ID, nodes []node.Node, seen []Seen, remedy string) []local.Finding {
	var away, moved, strangers []string
	others := 0
	known := map[int]bool{} // indexes of seen
	for _, n := range nodes {
		if n.ID != self {
			others++
		}
		i := slices.IndexFunc(seen, func(s Seen) bool { return s.ID == n.ID || s.ID == "" && s.Name == n.Name })
		if i < 0 {
			away = append(away, n.Name+" (never seen)")
			continue
		}
		known[i] = true
		switch s := seen[i]; {
		case s.State != "alive":
			away = append(away, fmt.Sprintf("%s (%s)", n.Name, s.State))
		case s.Address != "" && s.Address != n.Address:
			moved = append(moved, fmt.Sprintf("%s at %s, not %s", n.Name, s.Address, n.Address))
		}
	}
	for i, s := range seen {
		if !known[i] && s.State == "alive" {
			strangers = append(strangers, s.Name)
		}
	}

	var out []local.Finding
	switch {
	case len(away) > 0 && others > 0 && len(away) >= others:
		out = failed(remedy, "%s sees no other node: %s", who, list(away))
	case len(away) > 0:
		out = warned(remedy, "%s does not see %s", who, list(away))
	}
	if len(moved) > 0 {
		out = append(out, warned("restart the agent there; if the machine has a new address join it again", "%s sees %s", who, strings.Join(moved, "; "))...)
	}
	if len(strangers) > 0 {
		out = append(out, warned("wait a minute if a node has just left; else stop the agent there, and: kato rotate gossip-key",
			"%s sees %s, not in the nodes table", who, list(strangers))...)
	}
	if len(out) > 0 {
		return out
	}
	return ok("%s sees all %d nodes", who, len(nodes))
}
