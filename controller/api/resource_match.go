package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"

	"github.com/stackato/stackato/controller/auth"
	"github.com/stackato/stackato/controller/blob"
	"github.com/stackato/stackato/controller/cf"
)

func (a *API) resourceMatchRoutes() []route {
	return []route{
		{"POST", "/v3/resource_matches", auth.SignedIn, "Say which files need not be uploaded again.", matchResources},
	}
}

// matchResources does not know for which space the files are: it answers for
// all in which the user develops, and so does the upload.
func matchResources(r *request) (response, error) {
	data, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return response{}, cf.ErrTooLarge.With("The list of files is over the limit of %d bytes", tooLarge.Limit)
	}
	var body struct {
		Resources []blob.Resource `json:"resources"`
	}
	if err != nil || json.Unmarshal(data, &body) != nil {
		return response{}, cf.ErrMessageParse
	}
	if len(body.Resources) == 0 {
		return response{}, cf.ErrUnprocessable.With("Resources must have at least one resource")
	}
	known, err := r.api.Packages.Match(r.Context(), r.matchScope(), body.Resources)
	if err != nil {
		return response{}, blob.AsCF(err)
	}
	return created(map[string]any{"resources": known})
}

// maxMatchSpaces bounds the spaces in which files are looked for.
const maxMatchSpaces = 50

// matchScope names the spaces whose files the user need not upload again: the
// given ones, and those in which the user is a developer.
func (r *request) matchScope(first ...string) []string {
	scope := first
	if r.can.Everywhere(auth.AppWrite) { // administrators develop in all
		for _, s := range r.view.Spaces() {
			if !slices.Contains(first, s.GUID) && len(scope) < maxMatchSpaces {
				scope = append(scope, s.GUID)
			}
		}
		return scope
	}
	for _, role := range r.view.RolesOfUser(r.user.UserID) {
		if role.Type == "space_developer" && !slices.Contains(first, role.SpaceGUID) && len(scope) < maxMatchSpaces {
			scope = append(scope, role.SpaceGUID)
		}
	}
	return scope
}
