package local

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/stackato/stackato/agent/node"
)

// Codes of errors on the wire. Unknown codes are treated as CodeInternal.
const (
	CodeInvalid      = "invalid"      // the request makes no sense: 400
	CodeNotFound     = "not_found"    // what it names does not exist: 404
	CodeRefused      = "refused"      // a rule or precondition forbids it: 409
	CodeConflict     = "conflict"     // somebody else changed it first: 409
	CodeUnconfigured = "unconfigured" // this node is in no cluster yet: 409
	CodeForbidden    = "forbidden"    // the caller may not: 403
	CodeUnavailable  = "unavailable"  // a node does not answer, or no quorum: 503
	CodeNoPrimary    = "no_primary"   // no Primary elected: 503
	CodeTimeout      = "timeout"      // no answer in time, or it broke off; the outcome is unknown: 504
	CodeInternal     = "internal"     // a defect or a broken machine: 500
)

// codes maps a code to its HTTP status.
var codes = map[string]int{
	CodeInvalid:      http.StatusBadRequest,
	CodeNotFound:     http.StatusNotFound,
	CodeRefused:      http.StatusConflict,
	CodeConflict:     http.StatusConflict,
	CodeUnconfigured: http.StatusConflict,
	CodeForbidden:    http.StatusForbidden,
	CodeUnavailable:  http.StatusServiceUnavailable,
	CodeNoPrimary:    http.StatusServiceUnavailable,
	CodeTimeout:      http.StatusGatewayTimeout,
	CodeInternal:     http.StatusInternalServerError,
}

// synonyms are codes of the agents' RPC (wire/rpcerr) under the name that
// they have here.
var synonyms = map[string]string{
	"denied":              CodeForbidden,
	"unauthenticated":     CodeForbidden,
	"precondition":        CodeRefused,
	"unsupported_version": CodeRefused,
	"deadline":            CodeTimeout,
	"exhausted":           CodeUnavailable,
}

// Error is an error with a code and, where it helps, what to do next. It is
// both what a Backend may return and what the client gives back.
type Error struct {
	ErrCode string `json:"code"`
	Message string `json:"message"`
	ErrHint string `json:"hint,omitempty"`
}

// Errorf makes an Error. code is one of the Code constants.
func Errorf(code, hint, format string, args ...any) *Error {
	return &Error{ErrCode: code, ErrHint: hint, Message: fmt.Sprintf(format, args...)}
}

// Error returns the message without the hint.
func (e *Error) Error() string { return e.Message }

// Code returns the wire code.
func (e *Error) Code() string { return e.ErrCode }

// Hint says what the operator can do next; "" if there is nothing to say.
func (e *Error) Hint() string { return e.ErrHint }

// coder and hinter are what the server looks for in a Backend's errors, so
// that errors of other packages keep their code without importing this one.
type (
	coder  interface{ Code() string }
	hinter interface{ Hint() string }
)

// wireError turns any error into the one that goes over the wire. The whole
// text of err is kept: wrapping adds context that people need.
func wireError(err error) *Error {
	out := &Error{ErrCode: CodeInternal, Message: err.Error()}
	var (
		c    coder
		h    hinter
		rule *node.RuleError
	)
	switch {
	case errors.As(err, &c):
		out.ErrCode = c.Code()
		if s, ok := synonyms[out.ErrCode]; ok {
			out.ErrCode = s
		}
	case errors.As(err, &rule):
		out.ErrCode, out.Message, out.ErrHint = CodeRefused, rule.Reason, rule.Hint
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled): // Canceled: the server stops
		out.ErrCode = CodeTimeout
	}
	if errors.As(err, &h) {
		out.ErrHint = h.Hint()
	}
	if _, ok := codes[out.ErrCode]; !ok {
		out.ErrCode = CodeInternal
	}
	return out
}

// status is the HTTP status that fits the error.
func (e *Error) status() int { return codes[e.ErrCode] }
