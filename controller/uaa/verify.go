package uaa

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

// Identity is who holds a token.
type Identity struct {
	UserID   string // "" for a client's own token
	UserName string
	Origin   string
	ClientID string
	Scopes   []string
	JTI      string
	Expires  time.Time
}

// ErrInvalidToken says that a token is malformed, forged, expired or revoked;
// errors.Is finds it.
var ErrInvalidToken = errors.New("invalid token")

type tokenError struct {
	why   string
	stale bool // this controller may not have seen the row yet
}

func (e *tokenError) Error() string        { return "invalid token: " + e.why }
func (e *tokenError) Is(target error) bool { return target == ErrInvalidToken }

func refuse(why string) error { return &tokenError{why: why} }

// maxToken is the longest token that is looked at, in bytes.
const maxToken = 16 << 10

// Verify checks an access token: its form, signature, issuer and end, that it
// was not revoked, and that its user or client is still there with the same
// password. Every error but a *[cf.Error] matches [ErrInvalidToken].
func (s *Server) Verify(ctx context.Context, token string) (Identity, error) {
	c, err := s.verify(ctx, token)
	if err != nil {
		return Identity{}, err
	}
	return Identity{
		UserID: c.UserID, UserName: c.UserName, Origin: c.Origin, ClientID: c.ClientID,
		Scopes: c.Scope, JTI: c.ID, Expires: c.expires(),
	}, nil
}

// verify looks at what this controller has seen of the state. Only if a row is
// missing it asks for what is newest: the token may be younger than that.
func (s *Server) verify(ctx context.Context, token string) (claims, error) {
	if len(token) > maxToken {
		return claims{}, refuse("it is too long")
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return claims{}, refuse("it is malformed")
	}
	c, err := s.verifyIn(s.cfg.State.Local(), signed)
	var te *tokenError
	if !errors.As(err, &te) || !te.stale {
		return c, err
	}
	view, rerr := s.cfg.State.Read(ctx)
	if rerr != nil {
		return claims{}, rerr
	}
	return s.verifyIn(view, signed)
}

func (s *Server) verifyIn(view *state.View, signed *jose.JSONWebSignature) (claims, error) {
	var c claims
	row, ok := view.SigningKey(signed.Signatures[0].Header.KeyID)
	if !ok {
		return c, &tokenError{"its key is unknown", true}
	}
	key, err := s.keys.openPublic(row)
	if err != nil {
		return c, cf.ErrServer.With("%v", err)
	}
	payload, err := signed.Verify(key)
	if err != nil {
		return c, refuse("its signature is wrong")
	}
	if err := json.Unmarshal(payload, &c); err != nil {
		return c, refuse("its claims are malformed")
	}
	now := s.cfg.Now()
	switch {
	case c.Issuer != s.issuer():
		return c, refuse("it is of another issuer")
	case !now.Before(c.expires()):
		return c, refuse("it has expired")
	case view.Revoked(c.ID, c.Session):
		return c, refuse("it was revoked")
	}
	err = s.checkHolder(view, &c)
	return c, err
}

// checkHolder refuses tokens of who is gone or has another password, and takes
// away the scopes that a user has lost.
func (s *Server) checkHolder(view *state.View, c *claims) error {
	client, ok := view.Client(c.ClientID)
	if !ok {
		return &tokenError{"its client is gone", true}
	}
	if c.UserID == "" {
		if c.Mark != mark(client.Secret) {
			return &tokenError{"its client has another secret", true}
		}
		return nil
	}
	user, ok := view.User(c.UserID)
	switch {
	case !ok:
		return &tokenError{"its user is gone", true}
	case user.Inactive:
		return refuse("its user is not active")
	case c.Mark != mark(s.passwordOf(user)):
		return &tokenError{"its user has another password", true}
	}
	c.Scope = slices.DeleteFunc(c.Scope, func(scope string) bool {
		return !slices.Contains(defaultScopes, scope) && !slices.Contains(user.Groups, scope)
	})
	return nil
}
