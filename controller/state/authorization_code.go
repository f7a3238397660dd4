package state

import (
	"context"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

var authorizationCodes = newTable[cf.AuthorizationCode]("uaa_codes", unique("id", "Hash"),
	byTime("expires", func(c *cf.AuthorizationCode) time.Time { return c.ExpiresAt }))

var createCode = newCommand("uaa.code.create", 1, func(tx *Tx, in cf.AuthorizationCode) (none, error) {
	pruneExpired(tx, authorizationCodes, in.CreatedAt, func(c cf.AuthorizationCode) (string, time.Time) { return c.Hash, c.ExpiresAt })
	authorizationCodes.put(tx, in)
	return none{}, nil
})

// CreateAuthorizationCode adds a code.
func (s *Store) CreateAuthorizationCode(ctx context.Context, c cf.AuthorizationCode) error {
	_, err := createCode.do(ctx, s, c)
	return err
}

// CodeUse takes a code; it can be used once, by the client that it is for.
type CodeUse struct {
	Hash     string    `json:"hash"`
	ClientID string    `json:"client_id"`
	At       time.Time `json:"at"`
}

var useCode = newCommand("uaa.code.use", 1, func(tx *Tx, in CodeUse) (cf.AuthorizationCode, error) {
	c, ok := authorizationCodes.get(tx, "id", in.Hash)
	if !ok || c.ClientID != in.ClientID || !in.At.Before(c.ExpiresAt) {
		return cf.AuthorizationCode{}, cf.ErrNotFound.With("The code is invalid, has expired or was used before")
	}
	authorizationCodes.remove(tx, "id", in.Hash)
	return c, nil
})

// UseAuthorizationCode takes a code, or fails with cf.ErrNotFound.
func (s *Store) UseAuthorizationCode(ctx context.Context, u CodeUse) (cf.AuthorizationCode, error) {
	return useCode.do(ctx, s, u)
}
