package uaa

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

// maxAccessLife bounds what a client's row can say.
const maxAccessLife = 24 * time.Hour

// claims are those of UAA's access tokens. The cf client reads exp, user_name,
// user_id, origin, client_id, jti and revocable.
type claims struct {
	ID        string   `json:"jti"`
	Subject   string   `json:"sub"`
	Scope     []string `json:"scope"`
	ClientID  string   `json:"client_id"`
	CID       string   `json:"cid"`
	AZP       string   `json:"azp"`
	Revocable bool     `json:"revocable"`
	GrantType string   `json:"grant_type"`
	UserID    string   `json:"user_id,omitempty"`
	Origin    string   `json:"origin,omitempty"`
	UserName  string   `json:"user_name,omitempty"`
	Email     string   `json:"email,omitempty"`
	AuthTime  int64    `json:"auth_time,omitempty"` // seconds
	Mark      string   `json:"rev_sig"`
	Session   string   `json:"sid,omitempty"`
	IssuedAt  int64    `json:"iat"` // seconds
	Expires   int64    `json:"exp"` // seconds
	Issuer    string   `json:"iss"`
	Zone      string   `json:"zid"`
	Audience  []string `json:"aud"`
}

// expires is the end of the token.
func (c claims) expires() time.Time { return time.Unix(c.Expires, 0) }

// grant is what a token is given for.
type grant struct {
	client  cf.Client
	user    *cf.User // nil for a client's own
	mark    string   // of the password or secret
	scopes  []string
	kind    string // grant type
	session string // "" for a client's own
	since   time.Time
}

// newClaims returns the claims of a new access token.
func (s *Server) newClaims(g grant) claims {
	now := s.cfg.Now()
	life := s.cfg.AccessLife
	if g.client.AccessLife > 0 {
		life = min(g.client.AccessLife, maxAccessLife)
	}
	c := claims{
		ID: randomID(), Subject: g.client.ID, Scope: g.scopes, ClientID: g.client.ID, CID: g.client.ID, AZP: g.client.ID,
		Revocable: true, GrantType: g.kind, Mark: g.mark, Session: g.session,
		IssuedAt: now.Unix(), Expires: now.Add(life).Unix(), Issuer: s.issuer(), Zone: "uaa", Audience: audience(g),
	}
	if g.user != nil {
		c.Subject, c.UserID, c.Origin = g.user.GUID, g.user.GUID, g.user.Origin
		c.UserName, c.Email, c.AuthTime = g.user.UserName, g.user.Email, g.since.Unix()
	}
	return c
}

// audience are the client and the parts of the scopes before the last dot.
func audience(g grant) []string {
	out := []string{g.client.ID}
	for _, scope := range g.scopes {
		if i := strings.LastIndexByte(scope, '.'); i > 0 {
			scope = scope[:i]
		}
		if !slices.Contains(out, scope) {
			out = append(out, scope)
		}
	}
	return out
}

func (s *Server) issuer() string { return s.cfg.URL + "/oauth/token" }

// sign returns the token in compact form.
func (s *Server) sign(view *state.View, c claims) (string, error) {
	row, ok := signing(view.SigningKeys(), s.cfg.Now())
	if !ok {
		return "", cf.ErrServiceUnavailable.With("There is no signing key yet. Try again in a few seconds.")
	}
	key, err := s.keys.openPrivate(row)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: row.ID}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// answer is the body of POST /oauth/token. TokenType must be "bearer" in lower
// case, or cf refreshes the token before every call.
type answer struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	RefreshToken string `json:"refresh_token,omitempty"`
	ExpiresIn    int64  `json:"expires_in"` // seconds
	Scope        string `json:"scope"`
	JTI          string `json:"jti"`
}

// accessToken is the answer without a refresh token.
func (s *Server) accessToken(view *state.View, g grant) (*answer, error) {
	c := s.newClaims(g)
	token, err := s.sign(view, c)
	if err != nil {
		return nil, err
	}
	return &answer{AccessToken: token, TokenType: "bearer", ExpiresIn: c.Expires - c.IssuedAt, Scope: join(c.Scope), JTI: c.ID}, nil
}

// newRefresh returns a refresh token and its row.
func (s *Server) newRefresh(g grant) (string, cf.RefreshToken) {
	now := s.cfg.Now()
	life := s.cfg.RefreshLife
	if g.client.RefreshLife > 0 {
		life = g.client.RefreshLife
	}
	token := secret()
	return token, cf.RefreshToken{
		Hash: hashToken(token), Session: g.session, UserGUID: g.user.GUID, ClientID: g.client.ID, Scopes: g.scopes,
		PasswordMark: g.mark, CreatedAt: now, ExpiresAt: now.Add(life),
	}
}

// userTokens begins a session.
func (s *Server) userTokens(ctx context.Context, view *state.View, g grant) (*answer, error) {
	out, err := s.accessToken(view, g)
	if err != nil || !slices.Contains(g.client.Grants, grantRefresh) {
		return out, err
	}
	token, row := s.newRefresh(g)
	out.RefreshToken = token
	return out, s.cfg.State.CreateRefreshToken(ctx, row)
}

func randomID() string {
	b := make([]byte, 16)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// secret returns 256 random bits.
func secret() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// hashToken needs no salt: tokens are random.
func hashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func join(scopes []string) string { return strings.Join(scopes, " ") }
