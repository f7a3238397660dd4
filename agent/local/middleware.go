package local

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"
)

// Headers of the local API.
const (
	// HeaderNode names the node that shall serve the request (name, id or
	// address); without it the node that is asked serves.
	HeaderNode = "Stackato-Node"
	// HeaderCommand is the command behind the request, such as "kato role
	// add", for the audit log. Never arguments: they may be confidential.
	HeaderCommand = "Stackato-Command"
)

// wrap puts around a route what every route needs, outermost first: a bound
// on the body, a deadline, the audit line, forwarding, and a defect in one
// request not ending the agent.
func (h *handler) wrap(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		ctx, cancel := h.deadline(r.Context(), rt)
		defer cancel()
		// The connection outlives the operation's deadline by a little, so that
		// the error still reaches the client. A forwarded request has none.
		conn, end := http.NewResponseController(w), time.Now().Add(rt.timeout+5*time.Second)
		_, _ = conn.SetReadDeadline(end), conn.SetWriteDeadline(end)
		rec := &record{ResponseWriter: w}
		ctx = context.WithValue(ctx, recordKey{}, rec)
		if rt.kind != read {
			defer h.audit(r, rec, time.Now())
		}
		defer h.recovered(rec)
		if name := r.Header.Get(HeaderNode); name != "" {
			h.forward(rec, r.WithContext(ctx), rt, name)
			return
		}
		rt.serve(rec, r.WithContext(ctx))
	})
}

// deadline bounds a request. Changes go on when the client goes away, but
// not when the server stops.
func (h *handler) deadline(ctx context.Context, rt route) (context.Context, context.CancelFunc) {
	if rt.kind == read {
		return context.WithTimeout(ctx, rt.timeout)
	}
	out, cancel := context.WithTimeout(context.WithoutCancel(ctx), rt.timeout)
	base, ok := ctx.Value(baseKey{}).(context.Context)
	if !ok {
		return out, cancel
	}
	stop := context.AfterFunc(base, cancel)
	return out, func() { stop(); cancel() }
}

// baseKey holds the context of the server's life.
type baseKey struct{}

func (h *handler) recovered(rec *record) {
	p := recover()
	if p == nil {
		return
	}
	h.log.Error("local API request panicked", "panic", p, "stack", string(debug.Stack()))
	if !rec.wrote {
		writeError(rec, Errorf(CodeInternal, "see the agent's log", "the agent has a defect: %s", fmt.Sprint(p)))
	}
}
