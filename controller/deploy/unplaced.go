package deploy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// WhyUnplaced says in a sentence why Nomad finds no place for a job, "" if it
// does. Zones are the placement zones that nodes are in.
func WhyUnplaced(ctx context.Context, n interface {
	Unplaced(ctx context.Context, job string) (*Unplaced, error)
}, job string, zones []string,
) (string, error) {
	u, err := n.Unplaced(ctx, job)
	if err != nil || u == nil {
		return "", err
	}
	return u.Explain(zones), nil
}

// Explain says in a sentence why there is no place, for the developer. Zones
// are the placement zones that nodes are in.
func (u *Unplaced) Explain(zones []string) string {
	if u.Full() {
		return fmt.Sprintf("No DEA has enough room: %s used up on %s. "+
			"Ask for less, stop something, or add a DEA.", u.scarce(), nodes(u.Exhausted))
	}
	for _, key := range slices.Sorted(maps.Keys(u.Constraints)) {
		if zone, ok := strings.CutPrefix(key, "placement_zone_"); ok {
			return fmt.Sprintf("No DEA is in the placement zone %q. Zones that exist: %s.", zone, orNone(zones))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(u.Constraints)) {
		if stack, ok := strings.CutPrefix(key, "stack_"); ok {
			return fmt.Sprintf("No DEA has the stack %q ready.", stack)
		}
	}
	if u.Constraints["role_dea"] > 0 || u.Nodes == 0 {
		return "No DEA is there: give a node the role dea (kato role add dea --node NAME)."
	}
	return fmt.Sprintf("No DEA can take it: %s lack what it needs. Is a node still starting? (kato status)", nodes(u.Filtered))
}

func (u *Unplaced) scarce() string {
	if len(u.Dimensions) == 0 {
		return "something is"
	}
	names := slices.Sorted(maps.Keys(u.Dimensions))
	verb := " is"
	if len(names) > 1 {
		verb = " are"
	}
	return strings.Join(names, " and ") + verb
}

func nodes(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(slices.Values(names)), ", ")
}
