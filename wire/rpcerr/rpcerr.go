// Package rpcerr is the error that crosses processes: node to node and from
// inside the state machine back to whoever proposed. It has a code for
// programs, a message and a hint for people.
//
// A [Code] is itself an error, so that callers ask with errors.Is:
//
//	return rpcerr.New(rpcerr.NotFound, "no node %q", name).WithHint("see: kato node list")
//	...
//	if errors.Is(err, rpcerr.NotFound) { ... }
//
// This is a leaf package: it imports the standard library only.
package rpcerr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Code says what kind of failure it was. The zero Code is no code.
type Code string

// The codes. Append only: older members must be able to read them; an
// unknown one is treated as Internal.
const (
	NotFound           Code = "not_found"           // what the request names does not exist
	Conflict           Code = "conflict"            // exists already, or somebody changed it first
	Denied             Code = "denied"              // the caller is known and may not
	Unauthenticated    Code = "unauthenticated"     // the caller did not prove who it is
	Invalid            Code = "invalid"             // the request makes no sense
	Unavailable        Code = "unavailable"         // nobody can do it now: no leader, node away; nothing was done
	Deadline           Code = "deadline"            // no answer, because of time or a lost connection; the outcome is unknown
	Exhausted          Code = "exhausted"           // rate or size limit reached
	Precondition       Code = "precondition"        // a rule forbids it in the present state
	UnsupportedVersion Code = "unsupported_version" // the other side speaks another version
	Internal           Code = "internal"            // a defect or a broken machine
)

// codes holds the HTTP status of each known code.
var codes = map[Code]int{
	NotFound:           404,
	Conflict:           409,
	Denied:             403,
	Unauthenticated:    401,
	Invalid:            400,
	Unavailable:        503,
	Deadline:           504,
	Exhausted:          429,
	Precondition:       412,
	UnsupportedVersion: 426,
	Internal:           500,
}

// Codes returns every known code with its HTTP status.
func Codes() map[Code]int {
	out := make(map[Code]int, len(codes))
	for c, s := range codes {
		out[c] = s
	}
	return out
}

// Error makes a code usable as the target of errors.Is.
func (c Code) Error() string { return string(c) }

// HTTPStatus is the status that fits the code, 500 for an unknown one.
func (c Code) HTTPStatus() int {
	if s, ok := codes[c]; ok {
		return s
	}
	return codes[Internal]
}

// Known reports whether this build knows the code.
func (c Code) Known() bool { _, ok := codes[c]; return ok }

// Error is an error with a code. It is a value to be read, not changed:
// the With methods return copies.
type Error struct {
	ErrCode Code   `json:"code"`
	Message string `json:"message"`
	// ErrHint says what to do next; "" if there is nothing to say.
	ErrHint string `json:"hint,omitempty"`
	// Retryable says that the same request may succeed later and had no
	// effect, or that repeating it (with its request id) does no harm.
	Retryable bool `json:"retryable,omitempty"`
	// Data is the error in the terms of the layer above, for programs.
	Data json.RawMessage `json:"data,omitempty"`

	cause error
}

// New makes an Error. Unavailable and Exhausted are retryable unless changed
// with [Error.WithRetryable]. %w in format keeps the cause for errors.Is on
// this side of the wire; it does not travel.
func New(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{
		ErrCode:   code,
		Message:   err.Error(),
		Retryable: code == Unavailable || code == Exhausted,
		cause:     errors.Unwrap(err),
	}
}

// WithHint returns a copy with a hint: what the operator can do next.
func (e *Error) WithHint(format string, args ...any) *Error {
	out := *e
	out.ErrHint = fmt.Sprintf(format, args...)
	return &out
}

// WithRetryable returns a copy that says whether repeating makes sense.
func (e *Error) WithRetryable(yes bool) *Error {
	out := *e
	out.Retryable = yes
	return &out
}

// WithData returns a copy that carries data for the layer above.
func (e *Error) WithData(data json.RawMessage) *Error {
	out := *e
	out.Data = data
	return &out
}

// Error returns the message, without the hint.
func (e *Error) Error() string { return e.Message }

// Code returns the code as a string, so that packages which know only
// interface{ Code() string } can map it.
func (e *Error) Code() string { return string(e.ErrCode) }

// Hint says what to do next; "" if there is nothing to say.
func (e *Error) Hint() string { return e.ErrHint }

// Is reports whether target is this error's code.
func (e *Error) Is(target error) bool {
	c, ok := target.(Code)
	return ok && c == e.ErrCode
}

// Unwrap returns the cause on the side where the error was made.
func (e *Error) Unwrap() error { return e.cause }

// Of returns the code of err: "" for nil, Deadline for a context that has
// ended, Internal for an error without a known code.
func Of(err error) Code {
	if err == nil {
		return ""
	}
	return From(err).ErrCode
}

// Retryable reports whether err says that a retry makes sense.
func Retryable(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Retryable
}

// From turns any error into one that can cross the wire. An Error inside err
// keeps its code, hint and retryability; the message is the whole text of
// err, because wrapping adds context that people need. nil gives nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	var (
		e *Error
		c interface{ Code() string }
		k Code
		h interface{ Hint() string }
	)
	out := &Error{ErrCode: Internal, Message: err.Error(), cause: err}
	switch {
	case errors.As(err, &e):
		out.ErrCode, out.Retryable, out.Data = e.ErrCode, e.Retryable, e.Data
	case errors.As(err, &c):
		out.ErrCode = Code(c.Code())
	case errors.As(err, &k):
		out.ErrCode = k
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		out.ErrCode = Deadline
	}
	if errors.As(err, &h) {
		out.ErrHint = h.Hint()
	}
	if !out.ErrCode.Known() {
		out.ErrCode = Internal
	}
	return out
}
