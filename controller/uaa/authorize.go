package uaa

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

// codeLife is how long a code can be used.
const codeLife = 5 * time.Minute

// getAuthorize serves GET /oauth/authorize for who has a token already: cf asks
// so for a one-time password for ssh.
func (s *Server) getAuthorize(r *http.Request) (any, error) {
	c, err := s.bearer(r)
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	view, err := s.cfg.State.Read(r.Context())
	if err != nil {
		return nil, err
	}
	client, ok := view.Client(q.Get("client_id"))
	switch {
	case q.Get("response_type") != "code":
		return nil, fail(http.StatusBadRequest, "unsupported_response_type", "Only the response type code is supported")
	case !ok || !slices.Contains(client.Grants, grantCode) || !client.AutoApprove:
		return nil, errInvalidClient("The client %q cannot be given codes", q.Get("client_id"))
	case c.UserID == "":
		return nil, errRequest("A client cannot authorize another one")
	case q.Get("redirect_uri") != "":
		return nil, errRequest("The client has no such redirect_uri")
	}
	scopes, err := allowed(q.Get("scope"), client.Scopes, c.Scope)
	if err != nil {
		return nil, err
	}
	code := secret()
	now := s.cfg.Now()
	err = s.cfg.State.CreateAuthorizationCode(r.Context(), cf.AuthorizationCode{
		Hash: hashToken(code), UserGUID: c.UserID, ClientID: client.ID, Scopes: scopes, CreatedAt: now, ExpiresAt: now.Add(codeLife),
	})
	if err != nil {
		return nil, err
	}
	to := url.Values{"code": {code}}
	if v := q.Get("state"); v != "" {
		to.Set("state", v)
	}
	return reply{status: http.StatusFound, header: http.Header{"Location": {s.cfg.URL + "/?" + to.Encode()}}}, nil
}

// ExchangeCode takes a code that a user got for a client, once, and returns
// who the user is. Every error but a *[cf.Error] of the state means that the
// code is not good.
func (s *Server) ExchangeCode(ctx context.Context, clientID, code string) (Identity, error) {
	row, err := s.cfg.State.UseAuthorizationCode(ctx, state.CodeUse{Hash: hashToken(code), ClientID: clientID, At: s.cfg.Now()})
	if err != nil {
		return Identity{}, err
	}
	view, err := s.cfg.State.Read(ctx)
	if err != nil {
		return Identity{}, err
	}
	u, ok := view.User(row.UserGUID)
	if !ok || u.Inactive {
		return Identity{}, refuse("its user is gone")
	}
	return Identity{UserID: u.GUID, UserName: u.UserName, Origin: u.Origin, ClientID: clientID, Scopes: row.Scopes, Expires: row.ExpiresAt}, nil
}
