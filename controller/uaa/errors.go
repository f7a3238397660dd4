package uaa

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/stackato/stackato/controller/cf"
)

// failure is an error as UAA shows it. Clients compare codes and some of the
// descriptions verbatim.
type failure struct {
	status      int
	code        string // of RFC 6749, RFC 6750 or UAA's own
	description string
	extra       map[string]any
}

func (f *failure) Error() string { return f.description }

func fail(status int, code, format string, args ...any) *failure {
	return &failure{status: status, code: code, description: fmt.Sprintf(format, args...)}
}

const lockedText = "Your account has been locked because of too many failed attempts to login." // cf compares it

func errBadCredentials() error {
	return fail(http.StatusUnauthorized, "unauthorized", "Bad credentials")
}

func errLocked() error { return fail(http.StatusUnauthorized, "unauthorized", "%s", lockedText) }

func errInvalidClient(format string, args ...any) error {
	return fail(http.StatusUnauthorized, "invalid_client", format, args...)
}

func errInvalidToken(format string, args ...any) error {
	return fail(http.StatusUnauthorized, "invalid_token", format, args...)
}

func errScope(scopes ...string) error {
	f := fail(http.StatusForbidden, "insufficient_scope", "Insufficient scope for this resource")
	f.extra = map[string]any{"scope": join(scopes)}
	return f
}

func errRequest(format string, args ...any) error {
	return fail(http.StatusBadRequest, "invalid_request", format, args...)
}

func errResource(format string, args ...any) error {
	return fail(http.StatusBadRequest, "invalid_scim_resource", format, args...)
}

func errNoUser(id string) error {
	return fail(http.StatusNotFound, "scim_resource_not_found", "User %s does not exist", id)
}

// asFailure is what is shown for any error; internal says that it is ours, to
// be logged.
func asFailure(err error) (f *failure, internal bool) {
	var shown *cf.Error
	switch {
	case errors.As(err, &f):
		return f, false
	case errors.Is(err, errBusy):
		return fail(http.StatusServiceUnavailable, "temporarily_unavailable", "Too many log-ins at the same time. Try again in a few seconds."), false
	case errors.As(err, &shown) && shown.Status == http.StatusServiceUnavailable:
		return fail(http.StatusServiceUnavailable, "temporarily_unavailable", "%s", shown.Detail), false
	}
	return fail(http.StatusInternalServerError, "server_error", "The log-in service failed; its log says why."), true
}
