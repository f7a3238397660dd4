package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/stackato/stackato/wire/rpcerr"
)

// frame is one line of a stream. Exactly one field is set; a frame with none
// is a heartbeat.
type frame struct {
	Item  json.RawMessage `json:"item,omitempty"`
	Error *rpcerr.Error   `json:"error,omitempty"`
	End   bool            `json:"end,omitempty"`
}

// errAnswered marks errors that the caller was told already.
var errAnswered = errors.New("answered")

type answeredError struct{ err error }

func (e answeredError) Error() string        { return e.err.Error() }
func (e answeredError) Is(target error) bool { return target == errAnswered }

// serveStream runs a stream's handler. Once the first byte is out, errors
// travel as frames.
func (s *Server) serveStream(w http.ResponseWriter, r *http.Request, e *endpoint, c Caller, body []byte) error {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	stop := context.AfterFunc(s.stopping, func() { cancel(rpcerr.New(rpcerr.Unavailable, "this node is stopping")) })
	defer stop()

	out := &streamWriter{w: w, control: http.NewResponseController(w), limit: 3 * e.heartbeat}
	out.control.SetReadDeadline(time.Time{}) // the body's limit must not end the stream
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	if err := out.write(frame{}); err != nil {
		return answeredError{err}
	}
	var beating sync.WaitGroup
	beating.Go(func() { s.beat(ctx, cancel, r, e, out) })
	_, err := s.guard(e, c, func() (any, error) {
		return nil, e.stream(ctx, c, body, func(item any) error { return out.item(ctx, item) })
	})
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	cancel(nil)
	beating.Wait()
	if err == nil {
		_ = out.write(frame{End: true}) // an error means that the caller is gone
		return nil
	}
	_ = out.write(frame{Error: s.wireError(err, e.info.Name, c)}) // likewise
	return answeredError{err}
}

// beat shows the caller that the stream lives, and ends it when the caller may
// no longer call it.
func (s *Server) beat(ctx context.Context, cancel context.CancelCauseFunc, r *http.Request, e *endpoint, out *streamWriter) {
	t := time.NewTicker(e.heartbeat)
	defer t.Stop()
	p, _ := r.Context().Value(peerKey{}).(*peer)
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		c, err := s.identify(p)
		if err == nil {
			err = e.allows(c)
		}
		if err == nil {
			err = out.write(frame{})
		}
		if err != nil {
			cancel(err)
			return
		}
	}
}

// streamWriter writes frames one at a time.
type streamWriter struct {
	mu      sync.Mutex
	w       http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration // how long one frame may take
}

func (o *streamWriter) item(ctx context.Context, item any) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	data, err := json.Marshal(item)
	if err != nil {
		return fmt.Errorf("encode item: %w", err)
	}
	return o.write(frame{Item: data})
}

func (o *streamWriter) write(f frame) error {
	data, err := json.Marshal(f)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.control.SetWriteDeadline(time.Now().Add(o.limit))
	if _, err := o.w.Write(append(data, '\n')); err != nil {
		return rpcerr.New(rpcerr.Unavailable, "the caller is gone: %w", err)
	}
	if err := o.control.Flush(); err != nil {
		return rpcerr.New(rpcerr.Unavailable, "the caller is gone: %w", err)
	}
	return nil
}
