package api

import (
	"context"
	"net/http"

	"github.com/stackato/stackato/controller/auth"
)

// MayReadApp checks that whoever sends a request to another service of the
// cluster, such as log-cache, may see an app. The error is a *cf.Error: not
// found for an app that the sender does not see.
func (a *API) MayReadApp(ctx context.Context, r *http.Request, appGUID string) error {
	r = r.WithContext(ctx)
	user, err := a.authenticate(r)
	if err != nil {
		return err
	}
	req, err := a.newRequest(r, &user)
	if err != nil {
		return err
	}
	_, err = req.appNamed(appGUID, auth.AppRead, "App")
	return err
}
