package deploy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stackato/stackato/jobs"
)

// Coming reports whether all that is missing is that Nomad hears of a zone that
// a DEA is in, or of an image that one has: that takes some seconds.
func (u *Unplaced) Coming(zones []string, images map[string][]string) bool {
	for key := range u.Constraints {
		if zone, ok := jobs.ZoneOfMeta(key); ok && slices.Contains(zones, zone) {
			return true
		}
	}
	for _, have := range images {
		if u.Image != "" && slices.Contains(have, u.Image) {
			return true
		}
	}
	return false
}

// classMeta is what Nomad says instead of a constraint when it has looked at a
// node of the same kind for another instance before.
const classMeta = "computed class ineligible"

// WhyUnplaced says in a sentence why Nomad finds no place for a job, "" if it
// does. See [Unplaced.Explain].
func WhyUnplaced(ctx context.Context, n interface {
	Unplaced(ctx context.Context, job string) (*Unplaced, error)
}, job string, zones []string, images map[string][]string,
) (string, error) {
	u, err := n.Unplaced(ctx, job)
	if err != nil || u == nil {
		return "", err
	}
	return u.Explain(zones, images), nil
}

// WhyDown says in a sentence why instances of a job are nowhere: Nomad finds no
// place, or their containers cannot be made. "" if neither is known.
func WhyDown(ctx context.Context, n interface {
	Unplaced(ctx context.Context, job string) (*Unplaced, error)
	Allocations(ctx context.Context, job string) ([]Alloc, error)
}, job string, zones []string, images map[string][]string,
) (string, error) {
	why, err := WhyUnplaced(ctx, n, job, zones, images)
	if err != nil || why != "" {
		return why, err
	}
	all, err := n.Allocations(ctx, job)
	if err != nil {
		return "", err
	}
	for _, a := range all {
		if a.Reason == "" || a.Stopping || a.State != AllocPending && a.State != AllocFailed {
			continue
		}
		why = "The container cannot be started: " + strings.TrimSuffix(a.Reason, ".") + "."
		if strings.Contains(a.Reason, "pull") { // nothing is fetched: images are loaded
			why += " An operator must load the image on that DEA (docker load); then it starts by itself."
		}
	}
	return why, nil
}

// Explain says in a sentence why there is no place, for the developer. Zones
// are the placement zones that nodes are in, images what each DEA has verified,
// by the node's name; nil if that is not known.
func (u *Unplaced) Explain(zones []string, images map[string][]string) string {
	if u.Full() {
		why := fmt.Sprintf("No DEA has enough room: %s used up on %s. "+
			"Ask for less, stop something, or add a DEA.", u.scarce(), nodes(u.Exhausted))
		if lack := u.lacking(images); len(lack) > 0 {
			why += fmt.Sprintf(" These could not take it in any case, because they lack the image %s: %s.", u.Image, strings.Join(lack, ", "))
		}
		return why
	}
	for _, key := range slices.Sorted(maps.Keys(u.Constraints)) {
		zone, ok := jobs.ZoneOfMeta(key)
		if key == classMeta && u.Zone != "" && !slices.Contains(zones, u.Zone) {
			zone, ok = u.Zone, true
		}
		if ok && slices.Contains(zones, zone) {
			return fmt.Sprintf("No DEA in the placement zone %q is up, or the only one has just come into it. (kato status -a)", zone)
		}
		if ok {
			return fmt.Sprintf("No DEA is in the placement zone %q. Zones that exist: %s.", zone, orNone(zones))
		}
	}
	for key := range u.Constraints {
		if jobs.IsStackMeta(key) {
			return u.explainImage(images)
		}
	}
	if u.Constraints["role_dea"] > 0 || u.Nodes == 0 {
		return "No DEA is there: give a node the role dea (kato role add dea --node NAME)."
	}
	return fmt.Sprintf("No DEA can take it: %s lack what it needs. Is a node still starting? (kato status)", nodes(u.Filtered))
}

func (u *Unplaced) explainImage(images map[string][]string) string {
	var have []string
	for _, node := range slices.Sorted(maps.Keys(images)) {
		list := "none"
		if len(images[node]) > 0 {
			list = strings.Join(images[node], " and ")
		}
		have = append(have, node+" has "+list)
	}
	why := fmt.Sprintf("No DEA that may take it has the image %s, which the stack is, verified.", u.Image)
	if len(have) > 0 {
		why += " " + strings.Join(have, "; ") + "."
	}
	return why + " An operator must load it there (docker load), or name one that is there (kato config set cloud/stack_image)."
}

// lacking are the nodes without the image.
func (u *Unplaced) lacking(images map[string][]string) []string {
	var out []string
	for _, node := range slices.Sorted(maps.Keys(images)) {
		if u.Image != "" && !slices.Contains(images[node], u.Image) {
			out = append(out, node)
		}
	}
	return out
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
