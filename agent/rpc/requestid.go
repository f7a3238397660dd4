package rpc

import (
	"context"
	"regexp"

	"github.com/google/uuid"
)

type requestIDKey struct{}

var requestIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// WithRequestID makes calls with this context carry id. Handlers get a
// context that has it already, so a call made inside a call keeps the id.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

// RequestID returns the id of the context, "" if there is none.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// checkedRequestID replaces an id that would make logs hard to read.
func checkedRequestID(id string) string {
	if requestIDPattern.MatchString(id) {
		return id
	}
	return uuid.NewString()
}
