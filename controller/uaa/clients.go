package uaa

import (
	"errors"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

// clientJSON is a client as UAA shows it.
type clientJSON struct {
	ID          string   `json:"client_id"`
	Secret      string   `json:"client_secret,omitempty"` // in requests only
	Name        string   `json:"name,omitempty"`
	Scopes      []string `json:"scope"`
	Authorities []string `json:"authorities"`
	Grants      []string `json:"authorized_grant_types"`
	AccessLife  int64    `json:"access_token_validity,omitempty"`  // seconds
	RefreshLife int64    `json:"refresh_token_validity,omitempty"` // seconds
	AutoApprove any      `json:"autoapprove,omitempty"`
	ResourceIDs []string `json:"resource_ids"`
	Modified    int64    `json:"lastModified,omitempty"` // milliseconds
}

func presentClient(c cf.Client) clientJSON {
	return clientJSON{
		ID: c.ID, Name: c.Name, Scopes: orEmpty(c.Scopes), Authorities: orEmpty(c.Authorities), Grants: orEmpty(c.Grants),
		AccessLife: int64(c.AccessLife / time.Second), RefreshLife: int64(c.RefreshLife / time.Second),
		AutoApprove: c.AutoApprove, ResourceIDs: []string{"none"}, Modified: c.CreatedAt.UnixMilli(),
	}
}

func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func errNoClient(id string) error {
	return fail(http.StatusNotFound, "not_found", "No client with requested id: %s", id)
}

// getClients serves GET /oauth/clients.
func (s *Server) getClients(r *http.Request) (any, error) {
	if _, err := s.bearer(r, "clients.read", "clients.admin", "uaa.admin"); err != nil {
		return nil, err
	}
	view, err := s.cfg.State.Read(r.Context())
	if err != nil {
		return nil, err
	}
	list := []clientJSON{}
	for _, c := range view.Clients() {
		list = append(list, presentClient(c))
	}
	return map[string]any{"resources": list, "startIndex": 1, "itemsPerPage": len(list), "totalResults": len(list)}, nil
}

// getClient serves GET /oauth/clients/{id}.
func (s *Server) getClient(r *http.Request) (any, error) {
	if _, err := s.bearer(r, "clients.read", "clients.admin", "uaa.admin"); err != nil {
		return nil, err
	}
	view, err := s.cfg.State.Read(r.Context())
	if err != nil {
		return nil, err
	}
	c, ok := view.Client(r.PathValue("id"))
	if !ok {
		return nil, errNoClient(r.PathValue("id"))
	}
	return presentClient(c), nil
}

var clientID = regexp.MustCompile(`^[A-Za-z0-9._@-]{1,100}$`)

// postClient serves POST /oauth/clients.
func (s *Server) postClient(r *http.Request) (any, error) {
	if _, err := s.bearer(r, "clients.admin", "uaa.admin"); err != nil {
		return nil, err
	}
	var in clientJSON
	if err := decodeJSON(r, &in); err != nil {
		return nil, err
	}
	if err := checkNewClient(in); err != nil {
		return nil, err
	}
	c := cf.Client{
		ID: in.ID, Name: in.Name, Grants: in.Grants, Scopes: in.Scopes, Authorities: in.Authorities,
		AccessLife: time.Duration(in.AccessLife) * time.Second, RefreshLife: time.Duration(in.RefreshLife) * time.Second,
		CreatedAt: s.cfg.Now(),
	}
	var err error
	if c.Secret, err = s.hasher.hash(r.Context(), in.Secret); err != nil {
		return nil, err
	}
	err = s.cfg.State.CreateClient(r.Context(), c)
	if errors.Is(err, cf.ErrUniqueness) {
		return nil, fail(http.StatusConflict, "invalid_client", "Client already exists: %s", c.ID)
	}
	return reply{status: http.StatusCreated, body: presentClient(c)}, err
}

const maxRefreshLife = 365 * 24 * time.Hour

func checkNewClient(in clientJSON) error {
	bad := func(format string, args ...any) error {
		return fail(http.StatusBadRequest, "invalid_client", format, args...)
	}
	grants := []string{grantPassword, grantRefresh, grantClient}
	switch {
	case !clientID.MatchString(in.ID):
		return bad("The client_id must match %s", clientID)
	case in.Secret == "" || len(in.Secret) > maxPassword:
		return bad("A client_secret of at most %d bytes is needed", maxPassword)
	case len(in.Grants) == 0:
		return bad("authorized_grant_types is needed: one or more of %s", join(grants))
	case slices.Contains(in.Grants, grantClient) && len(in.Authorities) == 0:
		return bad("A client that gets tokens of its own needs authorities")
	case slices.Contains(in.Grants, grantPassword) && len(in.Scopes) == 0:
		return bad("A client that acts for users needs scopes")
	case in.AccessLife < 0 || in.AccessLife > int64(maxAccessLife/time.Second):
		return bad("access_token_validity must be at most %d seconds", int64(maxAccessLife/time.Second))
	case in.RefreshLife < 0 || in.RefreshLife > int64(maxRefreshLife/time.Second):
		return bad("refresh_token_validity must be at most %d seconds", int64(maxRefreshLife/time.Second))
	}
	for _, g := range in.Grants {
		if !slices.Contains(grants, g) {
			return bad("The grant type %s is not supported: use %s", g, join(grants))
		}
	}
	for _, scope := range slices.Concat(in.Scopes, in.Authorities) {
		if !clientID.MatchString(scope) {
			return bad("%q is no scope", scope)
		}
	}
	return nil
}

// putSecret serves PUT /oauth/clients/{id}/secret. Tokens of the client end.
func (s *Server) putSecret(r *http.Request) (any, error) {
	if _, err := s.bearer(r, "clients.admin", "uaa.admin"); err != nil {
		return nil, err
	}
	var in struct {
		Secret string `json:"secret"`
	}
	if err := decodeJSON(r, &in); err != nil {
		return nil, err
	}
	c, err := s.ownClient(r)
	if err != nil {
		return nil, err
	}
	if in.Secret == "" || len(in.Secret) > maxPassword {
		return nil, errRequest("A secret of at most %d bytes is needed", maxPassword)
	}
	if c.Secret, err = s.hasher.hash(r.Context(), in.Secret); err != nil {
		return nil, err
	}
	return map[string]string{"status": "ok", "message": "secret updated"}, s.cfg.State.PutClient(r.Context(), c)
}

// ownClient finds the client of the path, unless it is one that every cluster
// has.
func (s *Server) ownClient(r *http.Request) (cf.Client, error) {
	view, err := s.cfg.State.Read(r.Context())
	if err != nil {
		return cf.Client{}, err
	}
	c, ok := view.Client(r.PathValue("id"))
	switch {
	case !ok:
		return c, errNoClient(r.PathValue("id"))
	case slices.ContainsFunc(seeded(), func(own cf.Client) bool { return own.ID == c.ID }):
		return c, fail(http.StatusForbidden, "access_denied", "The client %s belongs to the cluster.", c.ID)
	}
	return c, nil
}

// deleteClient serves DELETE /oauth/clients/{id}.
func (s *Server) deleteClient(r *http.Request) (any, error) {
	if _, err := s.bearer(r, "clients.admin", "uaa.admin"); err != nil {
		return nil, err
	}
	c, err := s.ownClient(r)
	if err != nil {
		return nil, err
	}
	err = s.cfg.State.DeleteClient(r.Context(), c.ID)
	if errors.Is(err, cf.ErrNotFound) {
		return nil, errNoClient(c.ID)
	}
	return presentClient(c), err
}
