package uaa

import (
	"net/http"

	"github.com/stackato/stackato/controller/cf"
)

// deleteToken serves DELETE /oauth/token/revoke/{jti}: log-out. Who revokes
// their own token ends the whole session, refresh tokens included.
func (s *Server) deleteToken(r *http.Request) (any, error) {
	c, err := s.bearer(r)
	if err != nil {
		return nil, err
	}
	jti := r.PathValue("jti")
	now := s.cfg.Now()
	row := cf.Revocation{ID: jti, CreatedAt: now, ExpiresAt: now.Add(maxAccessLife)}
	switch {
	case len(jti) > 100:
		return nil, errRequest("This is no token's id")
	case jti == c.ID:
		rows := []cf.Revocation{row}
		if c.Session != "" {
			session := row
			session.ID = c.Session
			rows = append(rows, session)
		}
		err = s.cfg.State.Revoke(r.Context(), rows...)
	case c.has("tokens.revoke"), c.has("uaa.admin"):
		err = s.cfg.State.Revoke(r.Context(), row)
	default:
		return nil, errScope("tokens.revoke", "uaa.admin")
	}
	return reply{status: http.StatusOK, body: map[string]any{}}, err
}
