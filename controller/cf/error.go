package cf

import (
	"fmt"
	"net/http"
)

// Error is an error as Cloud Foundry's v3 API shows it. Clients compare Title
// and Detail verbatim, so texts are part of the interface; see
// https://v3-apidocs.cloudfoundry.org (list of error codes).
type Error struct {
	Status int    `json:"status"` // of HTTP
	Code   int    `json:"code"`
	Title  string `json:"title"` // "CF-…"
	Detail string `json:"detail"`
}

// Error returns the detail.
func (e *Error) Error() string { return e.Detail }

// Is makes errors.Is compare the code: errors.Is(err, cf.ErrNotFound).
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Title == e.Title
}

// With returns a copy with another detail.
func (e *Error) With(format string, args ...any) *Error {
	out := *e
	out.Detail = fmt.Sprintf(format, args...)
	return &out
}

// The errors of the API. Use them as they are or with another detail.
var (
	ErrInvalidAuthToken   = &Error{http.StatusUnauthorized, 1000, "CF-InvalidAuthToken", "Invalid Auth Token"}
	ErrNotAuthenticated   = &Error{http.StatusUnauthorized, 10002, "CF-NotAuthenticated", "Authentication error"}
	ErrNotAuthorized      = &Error{http.StatusForbidden, 10003, "CF-NotAuthorized", "You are not authorized to perform the requested action"}
	ErrNotFound           = &Error{http.StatusNotFound, 10010, "CF-ResourceNotFound", "Resource not found"}
	ErrUnknownRequest     = &Error{http.StatusNotFound, 10000, "CF-NotFound", "Unknown request"}
	ErrBadQuery           = &Error{http.StatusBadRequest, 10005, "CF-BadQueryParameter", "The query parameter is invalid"}
	ErrMessageParse       = &Error{http.StatusBadRequest, 1001, "CF-MessageParseError", "Request invalid due to parse error: invalid request body"}
	ErrUnprocessable      = &Error{http.StatusUnprocessableEntity, 10008, "CF-UnprocessableEntity", "The request is semantically invalid"}
	ErrUniqueness         = &Error{http.StatusUnprocessableEntity, 10016, "CF-UniquenessError", "The name is taken"}
	ErrBlobUnavailable    = &Error{http.StatusBadGateway, 150006, "CF-BlobstoreUnavailable", "Failed to perform operation due to blobstore unavailability."}
	ErrBitsInvalid        = &Error{http.StatusBadRequest, 160001, "CF-AppBitsUploadInvalid", "The app upload is invalid"}
	ErrBadRequest         = &Error{http.StatusBadRequest, 10004, "CF-BadRequest", "The request is invalid"}
	ErrInvalidRequest     = &Error{http.StatusBadRequest, 10004, "CF-InvalidRequest", "The request is invalid"}
	ErrTooLarge           = &Error{http.StatusRequestEntityTooLarge, 10017, "CF-RequestTooLarge", "The request is too large"}
	ErrRateLimit          = &Error{http.StatusTooManyRequests, 10013, "CF-RateLimitExceeded", "Rate Limit Exceeded"}
	ErrServiceUnavailable = &Error{http.StatusServiceUnavailable, 10015, "CF-ServiceUnavailable", "Service unavailable: there is no Primary at the moment. Try again in a few seconds."}
	// ErrNotImplemented is a 400: cf prints the JSON of a 5xx as it came, and
	// takes a 422 of some commands for "exists already", which it calls OK.
	ErrNotImplemented = &Error{http.StatusBadRequest, 10020, "CF-NotImplemented", "This is not there yet"}
	ErrServer         = &Error{http.StatusInternalServerError, 10001, "CF-UnknownError", "An unknown error occurred."}
)
