package local

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// recordKey finds the record of a request in its context.
type recordKey struct{}

// record notes what the audit line of a request needs, beside writing the
// answer.
type record struct {
	http.ResponseWriter
	wrote bool
	err   error
	attrs []slog.Attr
}

func (r *record) WriteHeader(status int) {
	r.wrote = true
	r.ResponseWriter.WriteHeader(status)
}

func (r *record) Write(b []byte) (int, error) {
	r.wrote = true
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *record) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// auditor is a request that says what it is about. It never returns secrets
// or values of settings.
type auditor interface{ audit() []slog.Attr }

// noteAudit adds what in is about to the request's audit line.
func noteAudit(ctx context.Context, in any) {
	rec, _ := ctx.Value(recordKey{}).(*record)
	if a, ok := in.(auditor); ok && rec != nil {
		rec.attrs = a.audit()
	}
}

// noteError tells the audit line how the request ended.
func noteError(w http.ResponseWriter, err error) {
	if rec, ok := w.(*record); ok {
		rec.err = err
	}
}

// audit logs one line for a change: who, what, how it ended.
func (h *handler) audit(r *http.Request, rec *record, start time.Time) {
	attrs := []slog.Attr{
		slog.String("who", origin(r.Context())),
		slog.String("request", r.Method+" "+r.URL.Path),
		slog.Duration("took", time.Since(start).Round(time.Millisecond)),
	}
	if c := r.Header.Get(HeaderCommand); c != "" {
		attrs = append(attrs, slog.String("command", clip(c)))
	}
	if n := r.Header.Get(HeaderNode); n != "" {
		attrs = append(attrs, slog.String("on_node", clip(n)))
	}
	for _, a := range rec.attrs {
		attrs = append(attrs, slog.Attr{Key: "arg_" + a.Key, Value: a.Value})
	}
	level, result := slog.LevelInfo, "ok"
	if rec.err != nil {
		level, result = slog.LevelWarn, rec.err.Error()
	}
	attrs = append(attrs, slog.String("result", result))
	h.log.LogAttrs(context.WithoutCancel(r.Context()), level, "audit", attrs...)
}

// clip bounds what a caller can put into the log.
func clip(s string) string { return s[:min(len(s), 100)] }

func (r InitRequest) audit() []slog.Attr {
	return []slog.Attr{slog.String("name", r.Name), slog.Bool("micro", r.Micro), slog.Any("roles", r.Roles)}
}

func (r JoinRequest) audit() []slog.Attr {
	return []slog.Attr{slog.Any("primaries", r.Primaries), slog.Any("roles", r.Roles)}
}

func (r LeaveRequest) audit() []slog.Attr { return []slog.Attr{slog.Bool("force", r.Force)} }

func (r NodeRemoveRequest) audit() []slog.Attr {
	return []slog.Attr{slog.String("node", r.Node), slog.Bool("force", r.Force)}
}

func (r ZoneRequest) audit() []slog.Attr {
	return []slog.Attr{slog.String("node", r.Node), slog.String("zone", r.Zone)}
}

func (r PlacementZonesRequest) audit() []slog.Attr {
	return []slog.Attr{slog.String("node", r.Node), slog.Any("add", r.Add), slog.Any("remove", r.Remove)}
}

func (r RoleChange) audit() []slog.Attr {
	return []slog.Attr{
		slog.String("node", r.Node), slog.String("op", string(r.Op)), slog.Any("names", r.Names),
		slog.Bool("all", r.All), slog.Any("all_but", r.AllBut),
	}
}

func (r RoleControl) audit() []slog.Attr {
	return []slog.Attr{slog.String("op", string(r.Op)), slog.Any("names", r.Names)}
}

func (r ConfigSetRequest) audit() []slog.Attr { return []slog.Attr{slog.String("key", r.Key)} }

func (r TokenCreateRequest) audit() []slog.Attr {
	return []slog.Attr{slog.Any("roles", r.Roles), slog.Duration("ttl", r.TTL), slog.Int("uses", r.Uses)}
}

func (r nameRequest) audit() []slog.Attr { return []slog.Attr{slog.String("name", r.Name)} }

func (r rotateRequest) audit() []slog.Attr { return []slog.Attr{slog.String("what", string(r.What))} }
