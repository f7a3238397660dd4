package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
)

const (
	jsonType   = "application/json"
	streamType = "application/x-ndjson"
)

// empty is the answer of requests that have nothing to say.
type empty struct{}

// get serves a request without parameters.
func get[T any](f func(context.Context) (T, error)) http.HandlerFunc {
	return query(func(r *http.Request) (T, error) { return f(r.Context()) })
}

// query serves a request whose parameters stand in path and query.
func query[T any](f func(*http.Request) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		out, err := f(r)
		if err != nil {
			writeError(w, err)
			return
		}
		writeJSON(w, http.StatusOK, out)
	}
}

// call serves a request with a JSON body.
func call[In, Out any](f func(context.Context, In) (Out, error)) http.HandlerFunc {
	return query(func(r *http.Request) (out Out, err error) {
		var in In
		if err := decode(r, &in); err != nil {
			return out, err
		}
		noteAudit(r.Context(), in)
		return f(r.Context(), in)
	})
}

// stream serves a long request with a JSON body: steps, then the result. An
// error before the first step is a plain error answer with its HTTP status.
func stream[In, Out any](f func(context.Context, In, Progress) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := decode(r, &in); err != nil {
			writeError(w, err)
			return
		}
		noteAudit(r.Context(), in)
		sw := &streamWriter{w: w}
		out, err := f(r.Context(), in, sw.step)
		sw.finish(out, err)
	}
}

// event is one line of a stream: exactly one field is set.
type event struct {
	Step   *Step           `json:"step,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *Error          `json:"error,omitempty"`
}

// streamWriter writes events. Write errors are ignored on purpose: they mean
// that the client went away, and the operation goes on without it.
type streamWriter struct {
	mu      sync.Mutex
	w       http.ResponseWriter
	started bool
	closed  bool
}

func (s *streamWriter) step(st Step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.write(event{Step: &st})
	}
}

func (s *streamWriter) finish(out any, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if err == nil {
		var b []byte
		if b, err = json.Marshal(out); err == nil {
			s.write(event{Result: b})
			return
		}
	}
	noteError(s.w, err)
	if !s.started {
		writeError(s.w, err)
		return
	}
	s.write(event{Error: wireError(err)})
}

func (s *streamWriter) write(e event) {
	if !s.started {
		s.started = true
		s.w.Header().Set("Content-Type", streamType)
		s.w.WriteHeader(http.StatusOK)
	}
	_ = json.NewEncoder(s.w).Encode(e)
	_ = http.NewResponseController(s.w).Flush()
}

// decode reads exactly one JSON value with known fields only. The body's
// size is bounded by the middleware.
func decode(r *http.Request, into any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil {
		if _, err = dec.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = errors.New("there is something after the JSON value")
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return Errorf(CodeInvalid, "", "the request is larger than %d bytes", tooLarge.Limit)
	case errors.Is(err, io.EOF):
		return Errorf(CodeInvalid, "", "the request has no body")
	}
	return Errorf(CodeInvalid, "kato and stackato-agent should have the same version", "cannot read the request: %v", err)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	var buf bytes.Buffer
	if err := json.NewEncoder(&buf).Encode(v); err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(status)
	_, _ = w.Write(buf.Bytes()) // an error means that the client went away
}

// writeError answers with {"error": …} and the status that fits.
func writeError(w http.ResponseWriter, err error) {
	noteError(w, err)
	e := wireError(err)
	writeJSON(w, e.status(), event{Error: e})
}
