package state

import (
	"context"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

var refreshTokens = newTable[cf.RefreshToken]("uaa_refresh_tokens", unique("id", "Hash"),
	by("session", "Session"), by("user", "UserGUID"),
	byTime("expires", func(r *cf.RefreshToken) time.Time { return r.ExpiresAt }))

// RefreshToken returns a token by its hash.
func (v *View) RefreshToken(hash string) (cf.RefreshToken, bool) {
	return refreshTokens.get(v, "id", hash)
}

// RefreshTokensOfUser returns the tokens of a user.
func (v *View) RefreshTokensOfUser(guid string) []cf.RefreshToken {
	return refreshTokens.list(v, "user", guid)
}

// maxRefreshTokens bounds the tokens of one user; the oldest go.
const maxRefreshTokens = 200

func putRefreshToken(tx *Tx, in cf.RefreshToken) {
	pruneExpired(tx, refreshTokens, in.CreatedAt, func(r cf.RefreshToken) (string, time.Time) { return r.Hash, r.ExpiresAt })
	refreshTokens.put(tx, in)
	rows := refreshTokens.list(tx, "user", in.UserGUID)
	for ; len(rows) > maxRefreshTokens; rows = refreshTokens.list(tx, "user", in.UserGUID) {
		oldest := rows[0]
		for _, r := range rows {
			if r.CreatedAt.Before(oldest.CreatedAt) {
				oldest = r
			}
		}
		refreshTokens.remove(tx, "id", oldest.Hash)
	}
}

var createRefreshToken = newCommand("uaa.refresh_token.create", 1, func(tx *Tx, in cf.RefreshToken) (none, error) {
	if !users.has(tx, "id", in.UserGUID) {
		return none{}, cf.ErrNotFound.With("User not found")
	}
	putRefreshToken(tx, in)
	return none{}, nil
})

// CreateRefreshToken begins a session.
func (s *Store) CreateRefreshToken(ctx context.Context, t cf.RefreshToken) error {
	_, err := createRefreshToken.do(ctx, s, t)
	return err
}

// Exchange replaces a refresh token by another one of the same session.
type Exchange struct {
	Hash string          `json:"hash"` // of the old one
	New  cf.RefreshToken `json:"new"`
	// Grace is how long the old one can be used after its first exchange:
	// another process of the same user may hold it.
	Grace time.Duration `json:"grace_ns"`
}

var exchangeRefreshToken = newCommand("uaa.refresh_token.exchange", 1, func(tx *Tx, in Exchange) (none, error) {
	at := in.New.CreatedAt
	old, ok := refreshTokens.get(tx, "id", in.Hash)
	if !ok || !at.Before(old.ExpiresAt) {
		return none{}, cf.ErrNotFound.With("The refresh token has expired or was revoked")
	}
	if old.Replaced.IsZero() {
		old.Replaced = at
		if end := at.Add(in.Grace); end.Before(old.ExpiresAt) {
			old.ExpiresAt = end
		}
		refreshTokens.put(tx, old)
	}
	putRefreshToken(tx, in.New)
	return none{}, nil
})

// ExchangeRefreshToken continues a session; cf.ErrNotFound means that the old
// token is no longer good.
func (s *Store) ExchangeRefreshToken(ctx context.Context, e Exchange) error {
	_, err := exchangeRefreshToken.do(ctx, s, e)
	return err
}
