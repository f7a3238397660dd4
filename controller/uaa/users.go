package uaa

import (
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

const maxName = 255 // bytes of a user name, an email address or a part of a name

// userName is what UAA allows.
var userName = regexp.MustCompile(`^[\p{L}+0-9\-_.@'!]+$`)

// scimUser is a user as SCIM shows it.
type scimUser struct {
	ID       string      `json:"id,omitempty"`
	Meta     *scimMeta   `json:"meta,omitempty"`
	UserName string      `json:"userName"`
	Password string      `json:"password,omitempty"` // in requests only
	Name     scimName    `json:"name"`
	Emails   []scimEmail `json:"emails"`
	Groups   []scimGroup `json:"groups,omitempty"`
	Active   *bool       `json:"active,omitempty"`
	Verified bool        `json:"verified"`
	Origin   string      `json:"origin,omitempty"`
	Zone     string      `json:"zoneId,omitempty"`
	Schemas  []string    `json:"schemas,omitempty"`
}

type scimMeta struct {
	Version      int       `json:"version"`
	Created      time.Time `json:"created"`
	LastModified time.Time `json:"lastModified"`
}

type scimName struct {
	FamilyName string `json:"familyName,omitempty"`
	GivenName  string `json:"givenName,omitempty"`
}

type scimEmail struct {
	Value   string `json:"value"`
	Primary bool   `json:"primary"`
}

type scimGroup struct {
	Value   string `json:"value"`
	Display string `json:"display"`
	Type    string `json:"type"`
}

func present(u cf.User) scimUser {
	active := !u.Inactive
	out := scimUser{
		ID: u.GUID, Meta: &scimMeta{u.Version, u.CreatedAt, u.UpdatedAt}, UserName: u.UserName,
		Name: scimName{u.FamilyName, u.GivenName}, Emails: []scimEmail{{u.Email, true}}, Active: &active,
		Verified: true, Origin: u.Origin, Zone: "uaa", Schemas: []string{"urn:scim:schemas:core:1.0"},
	}
	for _, g := range slices.Concat(defaultScopes, u.Groups) {
		out.Groups = append(out.Groups, scimGroup{g, g, "DIRECT"})
	}
	return out
}

// getUsers serves GET /Users.
func (s *Server) getUsers(r *http.Request) (any, error) {
	if _, err := s.bearer(r, "scim.read", "uaa.admin"); err != nil {
		return nil, err
	}
	view, err := s.cfg.State.Read(r.Context())
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	match, err := parseFilter(q.Get("filter"), userAttributes)
	if err != nil {
		return nil, err
	}
	start, count := number(q.Get("startIndex"), 1, 1<<30), number(q.Get("count"), 100, 500)
	var found []cf.User
	for _, u := range view.Users() {
		if match(u) {
			found = append(found, u)
		}
	}
	slices.SortFunc(found, func(a, b cf.User) int {
		if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(a.GUID, b.GUID)
	})
	page := []scimUser{}
	for i := start - 1; i < len(found) && len(page) < count; i++ {
		page = append(page, present(found[i]))
	}
	return map[string]any{
		"resources": page, "startIndex": start, "itemsPerPage": count, "totalResults": len(found),
		"schemas": []string{"urn:scim:schemas:core:1.0"},
	}, nil
}

// number parses a positive number of a query.
func number(text string, missing, most int) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return missing
	}
	return min(n, most)
}

// postUser serves POST /Users.
func (s *Server) postUser(r *http.Request) (any, error) {
	if _, err := s.bearer(r, "scim.write", "uaa.admin"); err != nil {
		return nil, err
	}
	var in scimUser
	if err := decodeJSON(r, &in); err != nil {
		return nil, err
	}
	u, err := s.newUser(in)
	if err != nil {
		return nil, err
	}
	if u.Origin == OriginUAA {
		if u.Password, err = s.hasher.hash(r.Context(), in.Password); err != nil {
			return nil, err
		}
	}
	err = s.cfg.State.CreateUser(r.Context(), u)
	if errors.Is(err, cf.ErrUniqueness) {
		f := fail(http.StatusConflict, "scim_resource_already_exists", "Username already in use: %s", u.UserName)
		if view, rerr := s.cfg.State.Read(r.Context()); rerr == nil {
			old, _ := view.UserByName(u.UserName, u.Origin)
			f.extra = map[string]any{"user_id": old.GUID, "active": !old.Inactive, "verified": true}
		}
		return nil, f
	}
	return reply{status: http.StatusCreated, body: present(u)}, err
}

// newUser checks what the request says.
func (s *Server) newUser(in scimUser) (cf.User, error) {
	now := s.cfg.Now()
	u := cf.User{
		Resource: cf.Resource{GUID: uuid.NewString(), CreatedAt: now, UpdatedAt: now},
		UserName: in.UserName, Origin: in.Origin, GivenName: in.Name.GivenName, FamilyName: in.Name.FamilyName,
		Inactive: in.Active != nil && !*in.Active, PasswordAt: now,
	}
	if u.Origin == "" {
		u.Origin = OriginUAA
	}
	for i, e := range in.Emails {
		if i == 0 || e.Primary {
			u.Email = e.Value
		}
	}
	for _, text := range []string{u.UserName, u.Email, u.GivenName, u.FamilyName, u.Origin} {
		if len(text) > maxName {
			return u, errResource("A user's name, email address and origin have at most %d bytes each.", maxName)
		}
	}
	switch {
	case u.UserName == "":
		return u, errResource("A username must be provided.")
	case u.Origin == OriginUAA && !userName.MatchString(u.UserName):
		return u, errResource("Username must match pattern: %s", userName)
	case u.Email == "":
		return u, errResource("Exactly one email must be provided.")
	case u.Origin == OriginUAA:
		return u, checkPassword(in.Password)
	case in.Password != "":
		return u, errResource("A user of the origin %s has no password here.", u.Origin)
	}
	return u, nil
}

func checkPassword(password string) error {
	switch {
	case password == "":
		return fail(http.StatusBadRequest, "invalid_password", "A password must be provided.")
	case len(password) > maxPassword:
		return fail(http.StatusBadRequest, "invalid_password", "Password must be no more than %d characters in length.", maxPassword)
	}
	return nil
}

// getUser serves GET /Users/{id}; everybody may see themselves.
func (s *Server) getUser(r *http.Request) (any, error) {
	c, err := s.bearer(r)
	if err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	if id != c.UserID && !c.has("scim.read") && !c.has("uaa.admin") {
		return nil, errScope("scim.read", "uaa.admin")
	}
	view, err := s.cfg.State.Read(r.Context())
	if err != nil {
		return nil, err
	}
	u, ok := view.User(id)
	if !ok {
		return nil, errNoUser(id)
	}
	return present(u), nil
}

// putPassword serves PUT /Users/{id}/password. Everybody may change their own,
// knowing the old one; administrators may change any.
func (s *Server) putPassword(r *http.Request) (any, error) {
	c, err := s.bearer(r, "password.write", "uaa.admin")
	if err != nil {
		return nil, err
	}
	var in struct {
		Old      string `json:"oldPassword"`
		Password string `json:"password"`
	}
	if err := decodeJSON(r, &in); err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	own := id == c.UserID
	if !own && !c.has("uaa.admin") {
		return nil, errScope("uaa.admin")
	}
	view, err := s.cfg.State.Read(r.Context())
	if err != nil {
		return nil, err
	}
	u, ok := view.User(id)
	switch {
	case !ok:
		return nil, errNoUser(id)
	case u.Origin != OriginUAA:
		return nil, errResource("A user of the origin %s has no password here.", u.Origin)
	}
	if err := checkPassword(in.Password); err != nil {
		return nil, err
	}
	if own {
		if err := s.checkOld(r, u, in.Old, in.Password); err != nil {
			return nil, err
		}
	}
	return s.changePassword(r, u, in.Password)
}

// checkOld counts wrong old passwords like failed log-ins.
func (s *Server) checkOld(r *http.Request, u cf.User, old, password string) error {
	key := "user " + strings.ToLower(u.UserName)
	good, err := s.checkUnlocked(r, key, errLocked(), old, s.passwordOf(u))
	switch {
	case err != nil:
		return err
	case !good:
		s.lockout.failed(key, s.cfg.Now())
		return fail(http.StatusUnauthorized, "unauthorized", "Old password is incorrect")
	case old == password:
		return fail(http.StatusUnprocessableEntity, "invalid_password", "Your new password cannot be the same as the old password.")
	}
	return nil
}

func (s *Server) changePassword(r *http.Request, u cf.User, password string) (any, error) {
	hash, err := s.hasher.hash(r.Context(), password)
	if err != nil {
		return nil, err
	}
	change := state.PasswordChange{GUID: u.GUID, Password: hash, At: s.cfg.Now()}
	if s.isFirstAdmin(u) {
		_, change.Adopted, _ = s.cfg.Admin.FirstAdmin()
	}
	if err := s.cfg.State.ChangePassword(r.Context(), change); err != nil {
		if errors.Is(err, cf.ErrNotFound) {
			return nil, errNoUser(u.GUID)
		}
		return nil, err
	}
	return map[string]string{"status": "ok", "message": "password updated"}, nil
}

// deleteUser serves DELETE /Users/{id}.
func (s *Server) deleteUser(r *http.Request) (any, error) {
	if _, err := s.bearer(r, "scim.write", "uaa.admin"); err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	view, err := s.cfg.State.Read(r.Context())
	if err != nil {
		return nil, err
	}
	if u, ok := view.User(id); ok && s.isFirstAdmin(u) {
		return nil, fail(http.StatusForbidden, "access_denied", "The first administrator cannot be deleted.")
	}
	u, err := s.cfg.State.DeleteUser(r.Context(), id)
	if errors.Is(err, cf.ErrNotFound) {
		return nil, errNoUser(id)
	}
	return present(u), err
}
