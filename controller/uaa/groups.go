package uaa

import (
	"errors"
	"net/http"
	"slices"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

// assignable are the groups, that is scopes, that users can be put into. Their
// names are their ids. There are no others.
var assignable = append(slices.Clone(AdminGroups), "cloud_controller.admin_read_only", "cloud_controller.global_auditor")

type groupJSON struct {
	ID      string       `json:"id"`
	Name    string       `json:"displayName"`
	Members []memberJSON `json:"members"`
	Zone    string       `json:"zoneId"`
	Schemas []string     `json:"schemas"`
}

type memberJSON struct {
	Value  string `json:"value"` // GUID of a user
	Type   string `json:"type"`
	Origin string `json:"origin"`
}

func presentGroup(view *state.View, name string) groupJSON {
	g := groupJSON{ID: name, Name: name, Members: []memberJSON{}, Zone: "uaa", Schemas: []string{"urn:scim:schemas:core:1.0"}}
	for _, u := range view.UsersInGroup(name) {
		g.Members = append(g.Members, memberJSON{u.GUID, "USER", u.Origin})
	}
	return g
}

var groupAttributes = attributes[string]{
	"id":          func(name string) string { return name },
	"displayname": func(name string) string { return name },
}

// getGroups serves GET /Groups.
func (s *Server) getGroups(r *http.Request) (any, error) {
	if _, err := s.bearer(r, "scim.read", "uaa.admin"); err != nil {
		return nil, err
	}
	view, err := s.cfg.State.Read(r.Context())
	if err != nil {
		return nil, err
	}
	match, err := parseFilter(r.URL.Query().Get("filter"), groupAttributes)
	if err != nil {
		return nil, err
	}
	found := []groupJSON{}
	for _, name := range assignable {
		if match(name) {
			found = append(found, presentGroup(view, name))
		}
	}
	return map[string]any{
		"resources": found, "startIndex": 1, "itemsPerPage": 100, "totalResults": len(found),
		"schemas": []string{"urn:scim:schemas:core:1.0"},
	}, nil
}

// group checks the token and that the path's group is one.
func (s *Server) group(r *http.Request, scopes ...string) (*state.View, string, error) {
	if _, err := s.bearer(r, scopes...); err != nil {
		return nil, "", err
	}
	name := r.PathValue("id")
	if !slices.Contains(assignable, name) {
		return nil, "", fail(http.StatusNotFound, "scim_resource_not_found", "Group %s does not exist", name)
	}
	view, err := s.cfg.State.Read(r.Context())
	return view, name, err
}

// getGroup serves GET /Groups/{id}.
func (s *Server) getGroup(r *http.Request) (any, error) {
	view, name, err := s.group(r, "scim.read", "uaa.admin")
	if err != nil {
		return nil, err
	}
	return presentGroup(view, name), nil
}

// putGroup serves PUT /Groups/{id}: the members that are given, and no others.
func (s *Server) putGroup(r *http.Request) (any, error) {
	view, name, err := s.group(r, "scim.write", "uaa.admin")
	if err != nil {
		return nil, err
	}
	var in groupJSON
	if err := decodeJSON(r, &in); err != nil {
		return nil, err
	}
	change := state.Membership{Group: name, At: s.cfg.Now()}
	for _, m := range in.Members {
		change.Add = append(change.Add, m.Value)
	}
	for _, u := range view.UsersInGroup(name) {
		if !slices.Contains(change.Add, u.GUID) {
			change.Remove = append(change.Remove, u.GUID)
		}
	}
	return s.changeMembers(r, view, change)
}

// postMember serves POST /Groups/{id}/members.
func (s *Server) postMember(r *http.Request) (any, error) {
	view, name, err := s.group(r, "scim.write", "uaa.admin")
	if err != nil {
		return nil, err
	}
	var in memberJSON
	if err := decodeJSON(r, &in); err != nil {
		return nil, err
	}
	if _, err := s.changeMembers(r, view, state.Membership{Group: name, Add: []string{in.Value}, At: s.cfg.Now()}); err != nil {
		return nil, err
	}
	u, _ := view.User(in.Value)
	return reply{status: http.StatusCreated, body: memberJSON{in.Value, "USER", u.Origin}}, nil
}

// deleteMember serves DELETE /Groups/{id}/members/{user}.
func (s *Server) deleteMember(r *http.Request) (any, error) {
	view, name, err := s.group(r, "scim.write", "uaa.admin")
	if err != nil {
		return nil, err
	}
	id := r.PathValue("user")
	u, ok := view.User(id)
	if !ok {
		return nil, errNoUser(id)
	}
	if _, err := s.changeMembers(r, view, state.Membership{Group: name, Remove: []string{id}, At: s.cfg.Now()}); err != nil {
		return nil, err
	}
	return memberJSON{id, "USER", u.Origin}, nil
}

func (s *Server) changeMembers(r *http.Request, view *state.View, change state.Membership) (any, error) {
	for _, id := range change.Remove {
		if u, ok := view.User(id); ok && s.isFirstAdmin(u) {
			return nil, fail(http.StatusForbidden, "access_denied", "The first administrator stays in every group of administrators.")
		}
	}
	err := s.cfg.State.ChangeMembership(r.Context(), change)
	if errors.Is(err, cf.ErrNotFound) {
		return nil, errRequest("One of the members is no user")
	}
	if err != nil {
		return nil, err
	}
	if view, err = s.cfg.State.Read(r.Context()); err != nil {
		return nil, err
	}
	return presentGroup(view, change.Group), nil
}
