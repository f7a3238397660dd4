package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"time"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

// request is one request on its way through a handler.
type request struct {
	*http.Request
	api   *API
	view  *state.View // as of the beginning of the request, never stale
	user  Identity
	can   *auth.Access
	query url.Values
	now   time.Time

	warnings []string // query-escaped
}

// admit is newRequest for those who do not ask too often.
func (a *API) admit(header http.Header, r *http.Request, token bool) (*request, error) {
	if !token {
		if a.limit(header, r, nil) {
			return nil, cf.ErrRateLimit
		}
		return a.newRequest(r, nil)
	}
	user, err := a.authenticate(r)
	if err != nil {
		if a.limit(header, r, nil) {
			return nil, cf.ErrRateLimit
		}
		return nil, err
	}
	if a.limit(header, r, &user) {
		return nil, cf.ErrRateLimit
	}
	return a.newRequest(r, &user)
}

// newRequest takes a view and finds out what the user, nil on a route that
// wants no token, may do.
func (a *API) newRequest(r *http.Request, user *Identity) (*request, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, cf.ErrBadQuery.With("The query parameter is invalid: %v", err)
	}
	req := &request{Request: r, api: a, query: query, now: a.Now().Truncate(time.Microsecond)}
	if user != nil {
		req.user = *user
	}
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	if req.view, err = a.State.Read(ctx); err != nil {
		return nil, err
	}
	if user == nil {
		return req, nil
	}
	var grants []auth.Grant
	for _, role := range req.view.RolesOfUser(req.user.UserID) {
		grants = append(grants, auth.Grant{Role: role.Type, OrgGUID: role.OrgGUID, SpaceGUID: role.SpaceGUID})
	}
	req.can = auth.NewAccess(req.user.Scopes, grants)
	if !req.can.HasScope(r.Method != http.MethodGet && r.Method != http.MethodHead) {
		return nil, errScope
	}
	return req, nil
}

var errScope = &cf.Error{
	Status: http.StatusForbidden, Code: 10007, Title: "CF-InsufficientScope",
	Detail: "Your token lacks the necessary scopes to access this resource.",
}

func (a *API) authenticate(r *http.Request) (Identity, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if scheme == "" {
		return Identity{}, cf.ErrNotAuthenticated
	}
	if !strings.EqualFold(scheme, "bearer") || token == "" {
		return Identity{}, cf.ErrInvalidAuthToken
	}
	id, err := a.Verify.Verify(r.Context(), strings.TrimSpace(token))
	var shown *cf.Error
	if err != nil && !errors.As(err, &shown) {
		return Identity{}, cf.ErrInvalidAuthToken
	}
	return id, err
}

// guid is the path's {guid}.
func (r *request) guid() string { return r.PathValue("guid") }

// store is where changes go.
func (r *request) store() *state.Store { return r.api.State }

// resource is the beginning of a new row: a GUID and the time.
func (r *request) resource() cf.Resource {
	return cf.Resource{GUID: r.api.NewGUID(), CreatedAt: r.now, UpdatedAt: r.now}
}

// warn adds a warning that cf prints.
func (r *request) warn(text string) { r.warnings = append(r.warnings, url.QueryEscape(text)) }

// link is an absolute URL of the API.
func (r *request) link(path ...string) string {
	return r.api.ExternalURL + strings.Join(path, "")
}

// require returns 404 "<resource> not found" unless the user may do read, and
// 403 unless they may do write, in an organization and a space ("" if it is in
// none).
func (r *request) require(read, write auth.Action, org, space, resource string) error {
	if !r.can.Can(read, org, space) {
		return cf.ErrNotFound.With("%s not found", resource)
	}
	if !r.can.Can(write, org, space) {
		return cf.ErrNotAuthorized
	}
	if o, found := r.view.Organization(org); found && o.Suspended && write.Changes() && !r.can.Admin() {
		return errSuspended
	}
	return nil
}

var errSuspended = &cf.Error{
	Status: http.StatusForbidden, Code: 10017, Title: "CF-OrgSuspended", Detail: "The organization is suspended",
}

// requireAdmin returns 403 unless the user is an administrator: for what
// belongs to no organization.
func (r *request) requireAdmin() error {
	if !r.can.Everywhere(auth.GlobalWrite) {
		return cf.ErrNotAuthorized
	}
	return nil
}

// decode reads a JSON object into v. Unknown fields are refused, as Cloud
// Foundry does. An empty body is an empty object.
func (r *request) decode(v any) error {
	data, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return cf.ErrTooLarge.With("The request body is over the limit of %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return cf.ErrMessageParse
	}
	return decodeJSON(data, v)
}

func decodeJSON(data []byte, v any) error {
	if len(bytes.TrimSpace(data)) == 0 {
		data = []byte("{}")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, err := d.Token(); err != io.EOF {
			return cf.ErrMessageParse
		}
		return nil
	}
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) {
		return cf.ErrUnprocessable.With("%s must be a %s", sentence(wrongType.Field), kindName(wrongType.Type.String()))
	}
	if name, found := strings.CutPrefix(err.Error(), "json: unknown field "); found {
		return cf.ErrUnprocessable.With("Unknown field(s): '%s'", strings.Trim(name, `"`))
	}
	var shown *cf.Error
	if errors.As(err, &shown) {
		return shown
	}
	return cf.ErrMessageParse
}

// sentence makes "memory_in_mb" "Memory in mb", as Cloud Foundry's texts do.
func sentence(field string) string {
	if field == "" {
		return "Request"
	}
	field = strings.ReplaceAll(field[strings.LastIndex(field, ".")+1:], "_", " ")
	return strings.ToUpper(field[:1]) + field[1:]
}

func kindName(t string) string {
	t = strings.TrimLeft(t, "*")
	switch {
	case strings.HasPrefix(t, "int"), strings.HasPrefix(t, "float"):
		return "number"
	case strings.HasPrefix(t, "map["), strings.Contains(t, "."), strings.HasPrefix(t, "struct"):
		return "hash"
	case strings.HasPrefix(t, "[]"):
		return "list"
	case t == "bool":
		return "boolean"
	}
	return t
}

// problems collects what is wrong with a body; Cloud Foundry joins them.
type problems []string

func (p *problems) check(good bool, problem string) {
	if !good {
		*p = append(*p, problem)
	}
}

// err is nil without problems.
func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return cf.ErrUnprocessable.With("%s", strings.Join(p, ", "))
}

// include checks the query's include= against what the resource offers.
func (r *request) include(offered ...string) (map[string]bool, error) {
	out := map[string]bool{}
	for _, v := range list(r.query.Get("include")) {
		found := false
		for _, o := range offered {
			found = found || o == v
		}
		if !found {
			sort.Strings(offered)
			return nil, cf.ErrBadQuery.With("The query parameter is invalid: Invalid included resource: '%s'. Valid included resources are: '%s'", v, strings.Join(offered, "', '"))
		}
		out[v] = true
	}
	return out, nil
}

// list splits a comma list of a query; "%2C" within a value is a comma.
func list(v string) []string {
	if v == "" {
		return nil
	}
	parts := strings.Split(v, ",")
	for i, p := range parts {
		if u, err := url.PathUnescape(p); err == nil && strings.Contains(strings.ToLower(p), "%2c") {
			p = u
		}
		parts[i] = p
	}
	return parts
}
