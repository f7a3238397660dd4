package fence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/stackato/stackato/wire/instance"
	"github.com/stackato/stackato/wire/rpcerr"
)

// Socket is where fence listens, inside of the mounted directory.
func (f *Fence) Socket() string { return filepath.Join(f.mounted, "run", "fence.sock") }

// listen makes the socket. Only root reaches it: its directory is 0700.
func (f *Fence) listen() (net.Listener, error) {
	path := f.Socket()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("fence: remove the old socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("fence: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("fence: %w", err)
	}
	return l, nil
}

func (f *Fence) serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           f.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(f.cfg.Logger.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       withPeer,
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	err := srv.Serve(l)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("fence: socket: %w", err)
}

// handler serves a caller that is known.
type handler func(w http.ResponseWriter, r *http.Request, c Container) error

// routes says who may ask for what.
func (f *Fence) routes() http.Handler {
	mux := http.NewServeMux()
	run := []string{instance.KindApp, instance.KindTask}
	stage := []string{instance.KindStaging}
	for pattern, route := range map[string]struct {
		handler handler
		kinds   []string
	}{
		"GET /v1/instance":       {f.getInstance, run},
		"GET /v1/droplet":        {f.getDroplet, run},
		"POST /v1/started":       {f.postStarted, run},
		"POST /v1/stopping":      {f.postStopping, run},
		"POST /v1/oom":           {f.postOOM, run},
		"GET /v1/build":          {f.getBuild, stage},
		"GET /v1/blobs/{digest}": {f.getBlob, stage},
		"PUT /v1/droplet":        {f.putDroplet, stage},
		"PUT /v1/cache":          {f.putCache, stage},
		"POST /v1/result":        {f.postResult, stage},
		"GET /v1/certificates":   {f.getCertificates, slices.Concat(run, stage)},
	} {
		mux.Handle(pattern, f.only(route.kinds, route.handler))
	}
	return mux
}

// only serves the first process of containers of some kinds.
func (f *Fence) only(kinds []string, h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := func() error {
			c, err := f.identify(r.Context())
			if err != nil {
				return err
			}
			if slices.Contains(kinds, c.Kind) {
				return h(w, r, c)
			}
			return rpcerr.New(rpcerr.Denied, "a container of kind %s may not %s %s", c.Kind, r.Method, r.URL.Path)
		}()
		if err != nil {
			f.refuse(w, r, err)
		}
	})
}

// refuse answers with an error, unless the answer has begun: then all that is
// left is to break off.
func (f *Fence) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, errBegun) {
		panic(http.ErrAbortHandler)
	}
	if r.Context().Err() == nil {
		f.cfg.Logger.Warn("refused a container's request", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	e := rpcerr.From(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.ErrCode.HTTPStatus())
	_ = json.NewEncoder(w).Encode(e) // the caller went away
}

// errBegun marks an error that came after the answer had begun.
var errBegun = errors.New("the answer broke off")

func answer(w http.ResponseWriter, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(data)
	return nil
}
