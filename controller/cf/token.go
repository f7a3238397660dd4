package cf

import "time"

// SigningKey signs access tokens. The newest one that has begun signs; all
// verify.
type SigningKey struct {
	ID        string    `json:"id"`      // "kid" of the tokens
	Private   Secret    `json:"private"` // PKCS #8
	Public    []byte    `json:"public"`  // PKIX
	CreatedAt time.Time `json:"created_at"`
	// SignsFrom is later than CreatedAt, so that whoever keeps a copy of the
	// public keys has time to fetch it.
	SignsFrom time.Time `json:"signs_from"`
}

// RefreshToken is what a log-in can be continued with. The token itself is
// kept nowhere.
type RefreshToken struct {
	Hash     string   `json:"hash"`    // SHA-256 of the token, hexadecimal
	Session  string   `json:"session"` // of one log-in; all that follow from it share it
	UserGUID string   `json:"user_guid"`
	ClientID string   `json:"client_id"`
	Scopes   []string `json:"scopes"`
	// PasswordMark names the password that was in force: another one ends
	// the session.
	PasswordMark string    `json:"password_mark"`
	CreatedAt    time.Time `json:"created_at"`
	ExpiresAt    time.Time `json:"expires_at"`
	// Replaced is when it was exchanged for another one, zero if it was not.
	Replaced time.Time `json:"replaced,omitzero"`
}

// Revocation ends an access token, or all of a session, before its time.
type Revocation struct {
	ID        string    `json:"id"` // a token's jti or a session
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"` // when nothing that it ends can be valid any more
}

// AuthorizationCode can be exchanged for a token once.
type AuthorizationCode struct {
	Hash        string    `json:"hash"` // SHA-256 of the code, hexadecimal
	UserGUID    string    `json:"user_guid"`
	ClientID    string    `json:"client_id"`
	Scopes      []string  `json:"scopes"`
	RedirectURI string    `json:"redirect_uri,omitempty"`
	CreatedAt   time.Time `json:"created_at"`
	ExpiresAt   time.Time `json:"expires_at"`
}
