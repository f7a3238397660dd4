package jobs

import "github.com/hashicorp/nomad/api"

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

// Placement says on which nodes a container may run.
type Placement struct {
	// Zone is the placement zone; "" is DefaultZone. It is strict.
	Zone string
	// Stack must be announced by the node; "" asks for none.
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
		out = append(out, metaStack+p.Stack)
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

// spread puts instances evenly over availability zones first, then over nodes.
func spread() []*api.Spread {
	return []*api.Spread{
		api.NewSpread("${meta."+metaZone+"}", 100, nil),
		api.NewSpread("${node.unique.id}", 50, nil),
	}
}
