package router

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// health answers /health for load balancers and for Consul's checks.
type health struct {
	router   *Router
	server   *http.Server
	draining atomic.Bool
}

func newHealth(r *Router) *health {
	h := &health{router: r}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", h.answer)
	h.server = &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
	}
	return h
}

// answer says 200 while requests should come here. A stale table is no reason
// to stay away: it is what a router is for.
func (h *health) answer(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	switch {
	case h.draining.Load():
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "stopping\n")
	case !h.router.table.Ready():
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "no routes yet\n")
	default:
		io.WriteString(w, "ok\n")
	}
}

func (h *health) serve(l net.Listener) error {
	if err := h.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (h *health) close() { h.server.Close() }
