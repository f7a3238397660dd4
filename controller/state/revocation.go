package state

import (
	"context"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

var revocations = newTable[cf.Revocation]("uaa_revocations", unique("id", "ID"),
	byTime("expires", func(r *cf.Revocation) time.Time { return r.ExpiresAt }))

// Revoked reports whether a token's jti or its session was revoked.
func (v *View) Revoked(ids ...string) bool {
	for _, id := range ids {
		if id != "" && revocations.has(v, "id", id) {
			return true
		}
	}
	return false
}

var revoke = newCommand("uaa.revoke", 1, func(tx *Tx, in []cf.Revocation) (none, error) {
	for _, r := range in {
		pruneExpired(tx, revocations, r.CreatedAt, func(r cf.Revocation) (string, time.Time) { return r.ID, r.ExpiresAt })
		revocations.put(tx, r)
		refreshTokens.remove(tx, "session", r.ID)
	}
	return none{}, nil
})

// Revoke ends tokens and sessions.
func (s *Store) Revoke(ctx context.Context, r ...cf.Revocation) error {
	_, err := revoke.do(ctx, s, r)
	return err
}
