package uaa

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
	"github.com/stackato/stackato/internal/clientaddr"
)

// tokenRequest is a request for a token by a client that has proved itself.
type tokenRequest struct {
	r      *http.Request
	form   url.Values
	client cf.Client
	view   *state.View
}

// postToken serves POST /oauth/token.
func (s *Server) postToken(r *http.Request) (any, error) {
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
	kind := q.form.Get("grant_type")
	switch kind {
	case "":
		return nil, errRequest("Missing grant type")
	case grantPassword, grantRefresh, grantClient:
	case grantCode:
		return nil, fail(http.StatusBadRequest, "unsupported_grant_type", "Codes are exchanged inside of the cluster only")
	default:
		return nil, fail(http.StatusBadRequest, "unsupported_grant_type", "Unsupported grant type: %s", kind)
	}
	if !slices.Contains(q.client.Grants, kind) {
		return nil, errInvalidClient("Unauthorized grant type: %s", kind)
	}
	switch kind {
	case grantPassword:
		return s.grantPassword(q)
	case grantRefresh:
		return s.grantRefresh(q)
	}
	return s.grantClient(q)
}

// tokenRequest reads the state and checks the client's secret. Credentials are
// taken from the body, not from the URL, which ends up in logs.
func (s *Server) tokenRequest(r *http.Request) (*tokenRequest, error) {
	view, err := s.cfg.State.Read(r.Context())
	if err != nil {
		return nil, err
	}
	if _, ok := view.Client(clientCF); !ok { // a new cluster
		if err := s.Maintain(r.Context()); err != nil {
			return nil, err
		}
		if view, err = s.cfg.State.Read(r.Context()); err != nil {
			return nil, err
		}
	}
	q := &tokenRequest{r: r, form: r.PostForm, view: view}
	id, password, basic := r.BasicAuth()
	switch {
	case !basic:
		id, password = q.form.Get("client_id"), q.form.Get("client_secret")
	case r.Header.Get("X-CF-ENCODED-CREDENTIALS") == "true":
		// RFC 6749 §2.3.1 has both form-encoded, most clients do not; this is
		// how UAA tells them apart.
		id, password = unescaped(id), unescaped(password)
	}
	q.client, err = s.checkClient(q, id, password)
	return q, err
}

func unescaped(s string) string {
	if out, err := url.QueryUnescape(s); err == nil {
		return out
	}
	return s
}

func (s *Server) checkClient(q *tokenRequest, id, password string) (cf.Client, error) {
	if id == "" {
		return cf.Client{}, fail(http.StatusUnauthorized, "unauthorized", "The client's credentials are missing")
	}
	c, ok := q.view.Client(id)
	if ok && c.Secret == "" {
		if password != "" {
			return cf.Client{}, errInvalidClient("Bad credentials")
		}
		return c, nil
	}
	key := "client " + id
	good, err := s.checkUnlocked(q.r, key, errInvalidClient("Client account locked because of too many failed attempts."), password, c.Secret)
	if err != nil {
		return cf.Client{}, err
	}
	if !good {
		s.lockout.failed(key, s.cfg.Now())
		return cf.Client{}, errInvalidClient("Bad credentials")
	}
	s.lockout.succeeded(key)
	return c, nil
}

// grantPassword logs a user in.
func (s *Server) grantPassword(q *tokenRequest) (any, error) {
	if q.form.Get("passcode") != "" {
		return nil, fail(http.StatusUnauthorized, "unauthorized", "One-time passcodes are not there yet. Log in with a user name and a password.")
	}
	if err := checkHint(q.form.Get("login_hint"), q.r.URL.Query().Get("login_hint")); err != nil {
		return nil, err
	}
	user, err := s.authenticate(q, q.form.Get("username"), q.form.Get("password"))
	if err != nil {
		return nil, err
	}
	scopes, err := allowed(q.form.Get("scope"), q.client.Scopes, append(slices.Clone(defaultScopes), user.Groups...))
	if err != nil {
		return nil, err
	}
	return s.userTokens(q.r.Context(), q.view, grant{
		client: q.client, user: &user, mark: mark(s.passwordOf(user)), scopes: scopes, kind: grantPassword,
		session: randomID(), since: s.cfg.Now(),
	})
}

// checkHint refuses a log-in for an origin that is not there.
func checkHint(hints ...string) error {
	for _, hint := range hints {
		if hint == "" {
			continue
		}
		var h struct {
			Origin string `json:"origin"`
		}
		if err := json.Unmarshal([]byte(hint), &h); err != nil || (h.Origin != "" && h.Origin != OriginUAA) {
			return fail(http.StatusUnauthorized, "unauthorized", "The origin provided in the login hint is invalid.")
		}
	}
	return nil
}

// checkUnlocked compares a password with a hash. Who is locked is refused
// before, and again when it is the password's turn: others may have been tried
// while it waited.
func (s *Server) checkUnlocked(r *http.Request, key string, locked error, password, hash string) (bool, error) {
	gate := func() error {
		if s.lockout.locked(key, s.cfg.Now()) {
			return locked
		}
		return nil
	}
	if err := gate(); err != nil {
		return false, err
	}
	return s.hasher.check(r.Context(), gate, password, hash)
}

// authenticate checks a user's password. Who guesses learns nothing of whether
// there is such a user, neither by the answer nor by its time.
func (s *Server) authenticate(q *tokenRequest, name, password string) (cf.User, error) {
	if name == "" || password == "" || len(password) > maxPassword || len(name) > maxName {
		return cf.User{}, errBadCredentials()
	}
	key := "user " + strings.ToLower(name)
	now := s.cfg.Now()
	user, known := q.view.UserByName(name, OriginUAA)
	if !known && s.isAdminName(name, OriginUAA) {
		var err error
		if user, err = s.ensureAdmin(q.r.Context(), q.view); err != nil {
			return cf.User{}, err
		}
	}
	good, err := s.checkUnlocked(q.r, key, errLocked(), password, s.passwordOf(user))
	if err != nil {
		return cf.User{}, err
	}
	if !good || user.Inactive {
		if s.lockout.failed(key, now) {
			s.cfg.Logger.Warn("a user is locked after failed log-ins", "user", user.GUID, "from", clientaddr.Of(q.r), "for", s.cfg.LockPeriod)
		}
		return cf.User{}, errBadCredentials()
	}
	s.lockout.succeeded(key)
	return user, nil
}

// allowed returns the scopes that are asked for, or all, of those that the
// client may have and the user has.
func allowed(asked string, client, holder []string) ([]string, error) {
	var out []string
	wanted := strings.Fields(asked)
	for _, scope := range client {
		if slices.Contains(holder, scope) && (len(wanted) == 0 || slices.Contains(wanted, scope)) {
			out = append(out, scope)
		}
	}
	if len(out) == 0 {
		return nil, fail(http.StatusBadRequest, "invalid_scope", "None of the scopes is allowed for this user and client: %s", join(wanted))
	}
	return out, nil
}

// grantRefresh continues a session. The refresh token is exchanged for another
// one.
func (s *Server) grantRefresh(q *tokenRequest) (any, error) {
	token := q.form.Get("refresh_token")
	gone := errInvalidToken("The refresh token has expired or was revoked. Log in again.")
	if token == "" {
		return nil, errRequest("A refresh token is needed")
	}
	old, ok := q.view.RefreshToken(hashToken(token))
	if !ok || old.ClientID != q.client.ID || !s.cfg.Now().Before(old.ExpiresAt) {
		return nil, gone
	}
	user, ok := q.view.User(old.UserGUID)
	if !ok || user.Inactive || mark(s.passwordOf(user)) != old.PasswordMark {
		return nil, gone
	}
	// Groups may have changed since the log-in.
	scopes, err := allowed(q.form.Get("scope"), old.Scopes, append(slices.Clone(defaultScopes), user.Groups...))
	if err != nil {
		return nil, err
	}
	g := grant{
		client: q.client, user: &user, mark: old.PasswordMark, scopes: scopes, kind: grantRefresh,
		session: old.Session, since: old.CreatedAt,
	}
	out, err := s.accessToken(q.view, g)
	if err != nil {
		return nil, err
	}
	g.scopes = old.Scopes // a narrower access token does not narrow the session
	next, row := s.newRefresh(g)
	err = s.cfg.State.ExchangeRefreshToken(q.r.Context(), state.Exchange{Hash: old.Hash, New: row, Grace: s.cfg.RefreshGrace})
	if errors.Is(err, cf.ErrNotFound) {
		return nil, gone
	}
	out.RefreshToken = next
	return out, err
}

// grantClient gives a client a token of its own.
func (s *Server) grantClient(q *tokenRequest) (any, error) {
	scopes, err := allowed(q.form.Get("scope"), q.client.Authorities, q.client.Authorities)
	if err != nil {
		return nil, err
	}
	return s.accessToken(q.view, grant{client: q.client, mark: mark(q.client.Secret), scopes: scopes, kind: grantClient})
}
