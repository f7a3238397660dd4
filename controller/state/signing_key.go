package state

import (
	"context"
	"slices"

	"github.com/stackato/stackato/controller/cf"
)

var signingKeys = newTable[cf.SigningKey]("uaa_signing_keys", unique("id", "ID"))

// SigningKeys returns all keys, the newest first.
func (v *View) SigningKeys() []cf.SigningKey { return newestKeys(v) }

// SigningKey returns one key.
func (v *View) SigningKey(id string) (cf.SigningKey, bool) { return signingKeys.get(v, "id", id) }

func newestKeys(r reader) []cf.SigningKey {
	out := signingKeys.list(r, "id")
	slices.SortFunc(out, func(a, b cf.SigningKey) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return out
}

// KeyChange adds a key and forgets others.
type KeyChange struct {
	Add *cf.SigningKey `json:"add,omitempty"`
	// Newest is the id of the newest key that the caller knew, "" if there
	// was none: the change is refused if another one was added meanwhile.
	Newest string   `json:"newest"`
	Forget []string `json:"forget,omitempty"`
}

var changeKeys = newCommand("uaa.keys.change", 1, func(tx *Tx, in KeyChange) (none, error) {
	newest := ""
	if keys := newestKeys(tx); len(keys) > 0 {
		newest = keys[0].ID
	}
	if newest != in.Newest {
		return none{}, cf.ErrUniqueness.With("Another signing key was added meanwhile")
	}
	if in.Add != nil {
		signingKeys.put(tx, *in.Add)
	}
	for _, id := range in.Forget {
		signingKeys.remove(tx, "id", id)
	}
	return none{}, nil
})

// ChangeSigningKeys rotates keys; cf.ErrUniqueness means that another
// controller did so at the same time.
func (s *Store) ChangeSigningKeys(ctx context.Context, c KeyChange) error {
	_, err := changeKeys.do(ctx, s, c)
	return err
}
