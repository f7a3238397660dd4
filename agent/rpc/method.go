package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/stackato/stackato/wire/rpcerr"
)

// Method declares a call with request *Req and response *Resp. Declare it as
// a package variable beside its types.
type Method[Req, Resp any] struct {
	// Name is two or more words of a-z and - joined by dots: "cluster.join".
	Name string
	// Callers may call it. At least one kind.
	Callers CallerSet
	// Timeout bounds the call on the server, and on the client where the
	// context has no deadline. DefaultTimeout if zero.
	Timeout time.Duration
	// MaxBody bounds the request, MaxResponse the response, in bytes of
	// JSON. DefaultMaxBody and DefaultMaxResponse if zero.
	MaxBody, MaxResponse int64
	// Reads says that calls change nothing: one whose outcome is not known may
	// be asked of another node.
	Reads bool
}

// StreamMethod declares a call that is answered by a stream of *Item.
type StreamMethod[Req, Item any] struct {
	Name    string    // as Method.Name
	Callers CallerSet // as Method.Callers
	// Heartbeat is how often the server shows that it lives while there is
	// no item; the client gives up after three are missing.
	// DefaultHeartbeat if zero.
	Heartbeat time.Duration
	MaxBody   int64 // of the request; DefaultMaxBody if zero
	MaxItem   int64 // of one item; DefaultMaxResponse if zero
}

// Empty is the request or response of a method that needs none.
type Empty struct{}

// MethodInfo describes a registered method, for documentation and tests.
type MethodInfo struct {
	Name    string        `json:"name"`
	Callers CallerSet     `json:"callers"`
	Stream  bool          `json:"stream"`
	Timeout time.Duration `json:"timeout"` // zero for a stream
	MaxBody int64         `json:"max_body"`
}

// endpoint is a registered method without its types.
type endpoint struct {
	info      MethodInfo
	heartbeat time.Duration
	call      func(ctx context.Context, c Caller, body []byte) (any, error)
	stream    func(ctx context.Context, c Caller, body []byte, send func(any) error) error
	raw       func(ctx context.Context, w http.ResponseWriter, r *http.Request, c Caller) error
}

var methodPattern = regexp.MustCompile(`^[a-z][a-z-]*(\.[a-z][a-z-]*)+$`)

// Handle registers the handler of a method. Call it before [Server.Run]; a
// bad or double declaration panics, because it is a defect of the program.
//
// The context of fn ends with the call's deadline or when the caller goes
// away. Errors cross the wire as [rpcerr.From] makes them.
func Handle[Req, Resp any](s *Server, m Method[Req, Resp], fn func(ctx context.Context, c Caller, req *Req) (*Resp, error)) {
	s.register(&endpoint{
		info: MethodInfo{
			Name: m.Name, Callers: m.Callers,
			Timeout: orDefault(m.Timeout, DefaultTimeout), MaxBody: orDefault(m.MaxBody, DefaultMaxBody),
		},
		call: func(ctx context.Context, c Caller, body []byte) (any, error) {
			req := new(Req)
			if err := decodeStrict(body, req); err != nil {
				return nil, err
			}
			resp, err := fn(ctx, c, req)
			if err == nil && resp == nil {
				err = errors.New("the handler gave neither response nor error")
			}
			return resp, err
		},
	})
}

// HandleStream registers the handler of a stream. fn calls send for each
// item and returns to end the stream; send is safe for concurrent use, blocks
// while the caller is slow, and fails once the caller is gone or is no longer
// allowed. The context ends when the caller goes away or the server stops.
func HandleStream[Req, Item any](s *Server, m StreamMethod[Req, Item], fn func(ctx context.Context, c Caller, req *Req, send func(*Item) error) error) {
	s.register(&endpoint{
		info:      MethodInfo{Name: m.Name, Callers: m.Callers, Stream: true, MaxBody: orDefault(m.MaxBody, DefaultMaxBody)},
		heartbeat: orDefault(m.Heartbeat, DefaultHeartbeat),
		stream: func(ctx context.Context, c Caller, body []byte, send func(any) error) error {
			req := new(Req)
			if err := decodeStrict(body, req); err != nil {
				return err
			}
			return fn(ctx, c, req, func(item *Item) error { return send(item) })
		},
	})
}

func (s *Server) register(e *endpoint) {
	switch {
	case !methodPattern.MatchString(e.info.Name):
		panic(fmt.Sprintf("rpc: bad method name %q", e.info.Name))
	case e.info.Callers == 0 || e.info.Callers >= 1<<len(callerNames):
		panic("rpc: method " + e.info.Name + " does not say who may call it")
	case s.endpoints[e.info.Name] != nil:
		panic("rpc: method " + e.info.Name + " is registered twice")
	}
	s.endpoints[e.info.Name] = e
}

// Methods lists the registered methods by name.
func (s *Server) Methods() []MethodInfo {
	out := make([]MethodInfo, 0, len(s.endpoints))
	for _, e := range s.endpoints {
		out = append(out, e.info)
	}
	slices.SortFunc(out, func(a, b MethodInfo) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// decodeStrict reads one JSON value and refuses unknown fields: a field that
// is not understood must not be lost silently.
func decodeStrict(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return rpcerr.New(rpcerr.Invalid, "request: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return rpcerr.New(rpcerr.Invalid, "request: text after the JSON value")
	}
	return nil
}

// readBody reads a bounded body.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &tooBig):
		return nil, rpcerr.New(rpcerr.Invalid, "request is larger than %d bytes", limit)
	case err != nil:
		return nil, rpcerr.New(rpcerr.Invalid, "request was not received whole: %w", err)
	}
	return body, nil
}

func orDefault[T int | int64 | time.Duration | float64](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}
