package state

import (
	"context"
	"slices"

	"github.com/hashicorp/go-memdb"

	"github.com/stackato/stackato/controller/cf"
)

// featureFlags holds the flags that somebody has changed.
var featureFlags = newTable[cf.FeatureFlag]("cf_feature_flags",
	&memdb.IndexSchema{Name: "id", Unique: true, Indexer: &memdb.StringFieldIndex{Field: "Name"}})

// FeatureFlag returns a flag, or its default; false if there is none such.
func (v *View) FeatureFlag(name string) (cf.FeatureFlag, bool) { return featureFlag(v, name) }

func featureFlag(r reader, name string) (cf.FeatureFlag, bool) {
	if f, changed := featureFlags.get(r, "id", name); changed {
		return f, true
	}
	i := slices.IndexFunc(cf.FeatureFlags, func(f cf.FeatureFlag) bool { return f.Name == name })
	if i < 0 {
		return cf.FeatureFlag{}, false
	}
	return cf.FeatureFlags[i], true
}

var putFeatureFlag = newAudited("cf.feature_flag.put", 1, func(tx *Tx, in cf.FeatureFlag) (none, error) {
	if _, known := featureFlag(tx, in.Name); !known {
		return none{}, cf.ErrNotFound.With("Feature flag not found")
	}
	featureFlags.put(tx, in)
	return none{}, nil
})

// PutFeatureFlag changes a flag.
func (s *Store) PutFeatureFlag(ctx context.Context, f cf.FeatureFlag) error {
	_, err := putFeatureFlag.do(ctx, s, f)
	return err
}
