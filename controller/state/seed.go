package state

import (
	"context"

	"github.com/hashicorp/go-memdb"

	"github.com/stackato/stackato/controller/cf"
)

// Seed is what a new cluster begins with. What has been there once is not made
// again, even if it was deleted since.
type Seed struct {
	Domain     cf.Domain      `json:"domain"`
	Quota      cf.Quota       `json:"quota"`
	Stack      cf.Stack       `json:"stack"`
	Buildpacks []cf.Buildpack `json:"buildpacks"`
}

// seeded says that a thing has been made.
type seeded struct {
	Key string `json:"key"`
}

var seeds = newTable[seeded]("cf_seeds",
	&memdb.IndexSchema{Name: "id", Unique: true, Indexer: &memdb.StringFieldIndex{Field: "Key"}})

var plant = newCommand("cf.seed", 1, func(tx *Tx, in Seed) (none, error) {
	once(tx, "quota:"+in.Quota.Name, func() { quotas.put(tx, in.Quota) })
	once(tx, "stack:"+in.Stack.Name, func() { stacks.put(tx, in.Stack) })
	once(tx, "domain:"+in.Domain.Name, func() {
		if !domains.has(tx, "name", in.Domain.Name) {
			domains.put(tx, in.Domain)
		}
	})
	for _, b := range in.Buildpacks {
		once(tx, "buildpack:"+b.Name, func() {
			if !buildpacks.has(tx, "name", b.Name) {
				place(tx, b, b.Position)
			}
		})
	}
	return none{}, nil
})

func once(tx *Tx, key string, plant func()) {
	if seeds.has(tx, "id", key) {
		return
	}
	plant()
	seeds.put(tx, seeded{key})
}

// PlantSeed makes what a new cluster begins with. The Primary calls it at its
// start.
func (s *Store) PlantSeed(ctx context.Context, seed Seed) error {
	_, err := plant.do(ctx, s, seed)
	return err
}
