package jobs

import (
	"strings"

	"github.com/hashicorp/nomad/api"
)

// DefaultZone is the placement zone of an app that names none.
const DefaultZone = "default"

// Metadata of Nomad's clients that placement decides by. The node agent sets
// them; "true" is the value that counts.
const (
	metaDEA   = "role_dea"
	metaZone  = "stackato_zone" // availability zone
	metaPlace = "placement_zone_"
	metaStack = "stack_"
)

// StackMeta is the key of the metadata by which a node announces an image that
// it has verified. It is by image, not by the stack's name: while a stack gets
// another image, what runs in the old one stays where it is and can grow.
func StackMeta(image string) string {
	return metaStack + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, image)
}

// IsStackMeta reports whether a key of metadata is one of those.
func IsStackMeta(key string) bool { return strings.HasPrefix(key, metaStack) }

// Image returns the image of a job.
func Image(j *api.Job) string {
	for _, g := range j.TaskGroups {
		for _, t := range g.Tasks {
			if image, ok := t.Config["image"].(string); ok {
				return image
			}
		}
	}
	return ""
}

// ZoneOfMeta returns the placement zone that a key of metadata is about; ok is
// false for keys about something else.
func ZoneOfMeta(key string) (zone string, ok bool) { return strings.CutPrefix(key, metaPlace) }

// Zone returns the placement zone of a job, "" if it is in none.
func Zone(j *api.Job) string {
	all := j.Constraints
	for _, g := range j.TaskGroups {
		all = append(all[:len(all):len(all)], g.Constraints...)
	}
	for _, c := range all {
		key, meta := strings.CutPrefix(c.LTarget, "${meta.")
		if zone, ok := ZoneOfMeta(strings.TrimSuffix(key, "}")); meta && ok {
			return zone
		}
	}
	return ""
}

// Placement says on which nodes a container may run.
type Placement struct {
	// Zone is the placement zone; "" is DefaultZone. It is strict.
	Zone string
	// Stack is the image that the node must have announced; "" asks for none.
	Stack string
}

// Constraints returns what a node must have, as keys of its metadata that
// must be "true".
func (p Placement) Constraints() []string {
	zone := p.Zone
	if zone == "" {
		zone = DefaultZone
	}
	out := []string{metaDEA, metaPlace + zone}
	if p.Stack != "" {
		out = append(out, StackMeta(p.Stack))
	}
	return out
}

func (p Placement) constraints() []*api.Constraint {
	var out []*api.Constraint
	for _, key := range p.Constraints() {
		out = append(out, api.NewConstraint("${meta."+key+"}", "=", "true"))
	}
	return out
}

// spread puts instances evenly over availability zones and over nodes.
//
// What Nomad makes of it (1.10.5, evenSpreadScoreBoost): without targets it
// adds up the two scores and ignores the weights, so where a zone has fewer
// nodes than another, zones win for small apps only: four instances on two and
// one node are two and two, six are four and two. Replacements of a lost
// node's instances can be uneven by one. Targets would be weighted, but jobs
// would name zones, and a job whose spread changes replaces all its instances.
// Which nodes of equal rank get the work is the scheduler's algorithm, set by
// the Primary: docs/adr/0019-work-goes-where-most-is-free.md.
func spread() []*api.Spread {
	return []*api.Spread{
		api.NewSpread("${meta."+metaZone+"}", 100, nil),
		api.NewSpread("${node.unique.id}", 50, nil),
	}
}
