package state

import (
	"context"
	"maps"
	"time"

	"github.com/hashicorp/go-memdb"

	"github.com/stackato/stackato/controller/cf"
)

var envGroups = newTable[cf.EnvGroup]("cf_env_groups",
	&memdb.IndexSchema{Name: "id", Unique: true, Indexer: &memdb.StringFieldIndex{Field: "Name"}})

// EnvGroup returns a group, empty if nobody has filled it: cf.EnvRunning or
// cf.EnvStaging.
func (v *View) EnvGroup(name string) cf.EnvGroup {
	g, ok := envGroups.get(v, "id", name)
	if !ok {
		g.Name = name
	}
	return g
}

// EnvGroupUpdate changes variables of a group; nil removes one.
type EnvGroupUpdate struct {
	Name string             `json:"name"`
	Var  map[string]*string `json:"var"`
	At   time.Time          `json:"at"`
}

var updateEnvGroup = newAudited("cf.env_group.update", 1, func(tx *Tx, in EnvGroupUpdate) (cf.EnvGroup, error) {
	g, ok := envGroups.get(tx, "id", in.Name)
	if !ok {
		g.Name = in.Name
	}
	vars := maps.Clone(g.Var)
	if vars == nil {
		vars = map[string]string{}
	}
	for k, v := range in.Var {
		if v == nil {
			delete(vars, k)
		} else {
			vars[k] = *v
		}
	}
	g.Var, g.UpdatedAt = vars, in.At
	envGroups.put(tx, g)
	return g, nil
})

// UpdateEnvGroup changes a group and returns it. Apps see it from their next
// start, or staging, on.
func (s *Store) UpdateEnvGroup(ctx context.Context, u EnvGroupUpdate) (cf.EnvGroup, error) {
	return updateEnvGroup.do(ctx, s, u)
}
