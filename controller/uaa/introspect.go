package uaa

import (
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"
	"slices"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/internal/clientaddr"
)

// getLogin serves GET /login and /info.
func (s *Server) getLogin(*http.Request) (any, error) {
	return map[string]any{
		"app": map[string]string{"version": s.cfg.Version},
		"prompts": map[string][]string{
			"username": {"text", "Email"},
			"password": {"password", "Password"},
		},
		"links":          map[string]string{"uaa": s.cfg.URL, "login": s.cfg.LoginURL},
		"zone_name":      "uaa",
		"entityID":       s.cfg.LoginURL,
		"commit_id":      "stackato",
		"timestamp":      s.cfg.Now().Format("2006-01-02T15:04:05-0700"),
		"idpDefinitions": map[string]string{},
	}, nil
}

// getConfiguration serves OpenID Connect's discovery.
func (s *Server) getConfiguration(*http.Request) (any, error) {
	return map[string]any{
		"issuer": s.issuer(), "token_endpoint": s.issuer(), "authorization_endpoint": s.cfg.LoginURL + "/oauth/authorize",
		"userinfo_endpoint": s.cfg.URL + "/userinfo", "jwks_uri": s.cfg.URL + "/token_keys",
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
		"grant_types_supported":                 []string{grantPassword, grantRefresh, grantClient},
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"scopes_supported":                      defaultScopes,
	}, nil
}

// getTokenKeys serves GET /token_keys: what others verify tokens with.
func (s *Server) getTokenKeys(r *http.Request) (any, error) {
	view, err := s.cfg.State.Read(r.Context())
	if err != nil {
		return nil, err
	}
	keys := []map[string]string{}
	for _, row := range view.SigningKeys() {
		key, err := s.webKey(row)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return map[string]any{"keys": keys}, nil
}

// getTokenKey serves GET /token_key: the key that signs now.
func (s *Server) getTokenKey(r *http.Request) (any, error) {
	view, err := s.cfg.State.Read(r.Context())
	if err != nil {
		return nil, err
	}
	row, ok := signing(view.SigningKeys(), s.cfg.Now())
	if !ok {
		return nil, fail(http.StatusNotFound, "not_found", "There is no key yet")
	}
	return s.webKey(row)
}

func (s *Server) webKey(row cf.SigningKey) (map[string]string, error) {
	key, err := s.keys.openPublic(row)
	if err != nil {
		return nil, err
	}
	enc := base64.RawURLEncoding
	return map[string]string{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": row.ID,
		"n": enc.EncodeToString(key.N.Bytes()), "e": enc.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
		"value": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: row.Public})),
	}, nil
}

// postCheckToken serves POST /check_token for clients that serve resources.
func (s *Server) postCheckToken(r *http.Request) (any, error) {
	if !s.throttle.allow(clientaddr.Of(r), s.cfg.Now()) {
		return nil, fail(http.StatusTooManyRequests, "too_many_requests", "Too many requests from your address. Try again in a few seconds.")
	}
	if err := r.ParseForm(); err != nil {
		return nil, errRequest("The request is no form: %v", err)
	}
	q, err := s.tokenRequest(r)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(q.client.Authorities, "uaa.resource") {
		return nil, errScope("uaa.resource")
	}
	c, err := s.verify(r.Context(), r.PostForm.Get("token"))
	if err != nil {
		if f, ok := err.(*tokenError); ok { //nolint:errorlint // verify makes no wrapped ones
			return nil, fail(http.StatusBadRequest, "invalid_token", "Invalid access token: %s", f.why)
		}
		return nil, err
	}
	return c, nil
}

// getUserInfo serves GET /userinfo of OpenID Connect.
func (s *Server) getUserInfo(r *http.Request) (any, error) {
	c, err := s.bearer(r, "openid")
	if err != nil {
		return nil, err
	}
	u, ok := s.cfg.State.Local().User(c.UserID)
	if !ok {
		return nil, errInvalidToken("This is no user's token")
	}
	return map[string]any{
		"user_id": u.GUID, "sub": u.GUID, "user_name": u.UserName, "preferred_username": u.UserName,
		"given_name": u.GivenName, "family_name": u.FamilyName, "name": u.GivenName + " " + u.FamilyName,
		"email": u.Email, "email_verified": false, "origin": u.Origin,
	}, nil
}
