package logcache

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/wire/logs"
)

// Version is what clients are told: from 2.12.0 on they use the paths below
// /api/v1.
const Version = "3.0.0"

// Nodes gives access to the nodes that keep logs.
type Nodes interface {
	// LogNodes returns the nodes that may have lines of an app, in an order that
	// does not change without need.
	LogNodes(appGUID string) []string
	// ReadLogs asks one of them. It must return soon after ctx is done.
	ReadLogs(ctx context.Context, node string, req logs.ReadRequest) (logs.ReadResponse, error)
}

// Config configures a handler. Nodes and Allowed are needed.
type Config struct {
	Nodes Nodes
	// Allowed says whether who sends a request may read the logs of an app. An error
	// that is a *cf.Error is shown; unseen apps are cf.ErrNotFound.
	Allowed func(ctx context.Context, r *http.Request, appGUID string) error
	Log     *slog.Logger // default: discarded

	// The following have defaults that only tests change.
	Within   time.Duration // how long a node may take; 1 s
	SlowFor  time.Duration // how long one that took longer is not waited for; 5 s
	SlowWait time.Duration // what it is given in that time; 50 ms
	MaxReads int           // at the same time, further ones wait and get 429; 64
	BusyWait time.Duration // how long they wait; 1 s
}

// handler serves the API.
type handler struct {
	cfg     Config
	gather  gatherer
	reads   chan struct{} // a place for each read under way
	started time.Time
}

// New returns the handler of the API. It may be used concurrently.
func New(cfg Config) http.Handler {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Within = cmp.Or(cfg.Within, time.Second)
	cfg.SlowFor = cmp.Or(cfg.SlowFor, 5*time.Second)
	cfg.SlowWait = cmp.Or(cfg.SlowWait, 50*time.Millisecond)
	cfg.BusyWait = cmp.Or(cfg.BusyWait, time.Second)
	cfg.MaxReads = cmp.Or(cfg.MaxReads, 64)
	h := &handler{
		cfg:    cfg,
		gather: gatherer{nodes: cfg.Nodes, log: cfg.Log, within: cfg.Within, slowFor: cfg.SlowFor, slowWait: cfg.SlowWait, slow: map[string]time.Time{}},
		reads:  make(chan struct{}, cfg.MaxReads), started: time.Now(),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/info", h.info)
	mux.HandleFunc("GET /api/v1/read/{source_id...}", h.read)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h.fail(w, r, &statusError{codeUnimplemented, "only reads of logs are there: GET /api/v1/info and GET /api/v1/read/{app guid}"})
	})
	return mux
}

func (h *handler) info(w http.ResponseWriter, _ *http.Request) {
	respond(w, http.StatusOK, map[string]string{
		"version":   Version,
		"vm_uptime": strconv.FormatInt(int64(time.Since(h.started)/time.Second), 10),
	})
}

func (h *handler) read(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r.PathValue("source_id"), r.URL.Query())
	if err != nil {
		h.fail(w, r, err)
		return
	}
	if err := h.cfg.Allowed(r.Context(), r, q.AppGUID); err != nil {
		h.fail(w, r, err)
		return
	}
	if !q.wantsLogs {
		respond(w, http.StatusOK, present(nil))
		return
	}
	busy := time.NewTimer(h.cfg.BusyWait)
	defer busy.Stop()
	select {
	case h.reads <- struct{}{}:
		defer func() { <-h.reads }()
	case <-busy.C:
		h.fail(w, r, &statusError{codeResourceExhausted, "too many logs are read at the moment: try again soon, or with a smaller limit"})
		return
	case <-r.Context().Done():
		return
	}
	respond(w, http.StatusOK, present(h.gather.read(r.Context(), q.ReadRequest)))
}

// Codes of gRPC, which log-cache answers with.
const (
	codeInvalidArgument   = 3
	codeNotFound          = 5
	codePermissionDenied  = 7
	codeResourceExhausted = 8
	codeUnimplemented     = 12
	codeInternal          = 13
	codeUnavailable       = 14
	codeUnauthenticated   = 16
)

// statusError is an error as gRPC has them.
type statusError struct {
	code    int
	message string
}

func (e *statusError) Error() string { return e.message }

// httpStatus is the mapping of grpc-gateway.
var httpStatus = map[int]int{
	codeInvalidArgument:   http.StatusBadRequest,
	codeNotFound:          http.StatusNotFound,
	codePermissionDenied:  http.StatusForbidden,
	codeResourceExhausted: http.StatusTooManyRequests,
	codeUnimplemented:     http.StatusNotImplemented,
	codeInternal:          http.StatusInternalServerError,
	codeUnavailable:       http.StatusServiceUnavailable,
	codeUnauthenticated:   http.StatusUnauthorized,
}

// fail answers with an error. What is not meant for clients is logged.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	var status *statusError
	var ours *cf.Error
	switch {
	case errors.As(err, &status):
	case errors.As(err, &ours):
		status = &statusError{codeInternal, ours.Detail}
		for code, s := range httpStatus {
			if s == ours.Status {
				status.code = code
			}
		}
	default:
		h.cfg.Log.Error("log-cache request failed", "path", r.URL.Path, "error", err)
		status = &statusError{codeInternal, "an error that is in the controller's log"}
	}
	if status.code == codeUnauthenticated {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	respond(w, httpStatus[status.code], struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Details []any  `json:"details"`
	}{status.code, status.message, []any{}})
}

func respond(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // who asked has gone
}
