package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/wire/rpcerr"
)

// Event is a finished call, for metrics.
type Event struct {
	Server   bool   // false: the calling side
	Method   string // "unknown" for a method that is not registered
	Code     rpcerr.Code
	Duration time.Duration
}

// Config is what a server needs. Listener, Credentials and Members are
// required.
type Config struct {
	// Listener is the TCP listener; Run closes it.
	Listener    net.Listener
	Credentials Credentials
	Members     Members
	// Logger gets refused connections and panics. slog.Default() if nil.
	Logger *slog.Logger
	// Observe is called after each call, must be quick and safe for
	// concurrent use. May be nil.
	Observe func(Event)
	// AdmitRaft decides about a Raft connection of a node whose certificate
	// is good and that Members does not know: this node's own table may be
	// older than that node's membership. nil refuses.
	AdmitRaft func(pki.Identity) bool
	// AnonymousRate is how many calls a second each address may make without
	// a valid certificate (2 if zero), AnonymousBurst how many at once (10 if
	// zero). All addresses together may make fifty times that.
	AnonymousRate  float64
	AnonymousBurst int
	// AnonymousConns bounds connections without a valid certificate: of all,
	// 256 if zero; one address may have a quarter of them.
	AnonymousConns int
	// Grace is how long running calls may take when the server stops. 2 s if
	// zero. Streams are ended at once.
	Grace time.Duration
	// PingInterval after which a silent connection is checked, and
	// PingTimeout after which it is closed. 10 s and 5 s if zero.
	PingInterval, PingTimeout time.Duration
}

// Server answers calls and accepts Raft connections. Register methods, then
// Run it once.
type Server struct {
	cfg       Config
	log       *slog.Logger
	endpoints map[string]*endpoint
	limit     *limiter
	conns     *connSet
	h2        *handoff // handshaken connections for net/http
	raft      *RaftListener

	stopping context.Context // done when no new calls are taken
	stop     context.CancelFunc
	calls    sync.WaitGroup // running handlers
	callsMu  sync.Mutex     // orders calls.Add against stop
}

// NewServer makes a server. It starts nothing.
func NewServer(cfg Config) (*Server, error) {
	if cfg.Listener == nil || cfg.Credentials == nil || cfg.Members == nil {
		return nil, errors.New("rpc: Listener, Credentials and Members are required")
	}
	cfg.AnonymousRate = orDefault(cfg.AnonymousRate, 2)
	cfg.AnonymousBurst = orDefault(cfg.AnonymousBurst, 10)
	cfg.AnonymousConns = orDefault(cfg.AnonymousConns, 256)
	cfg.Grace = orDefault(cfg.Grace, 2*time.Second)
	cfg.PingInterval = orDefault(cfg.PingInterval, 10*time.Second)
	cfg.PingTimeout = orDefault(cfg.PingTimeout, 5*time.Second)
	s := &Server{
		cfg:       cfg,
		log:       cfg.Logger,
		endpoints: map[string]*endpoint{},
		limit:     newLimiter(cfg.AnonymousRate, cfg.AnonymousBurst),
		conns:     newConnSet(cfg.AnonymousConns),
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.h2 = newHandoff(cfg.Listener.Addr())
	s.raft = &RaftListener{handoff: newHandoff(cfg.Listener.Addr())}
	return s, nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.cfg.Listener.Addr() }

// Run serves until ctx is done, then stops in order: no new connections and
// calls, streams ended, running calls awaited for Config.Grace, connections
// closed, handlers awaited once more for Config.Grace: after that only a
// handler that ignores its context still runs. It returns nil after ctx is done, else why it cannot serve.
func (s *Server) Run(ctx context.Context) error {
	web := s.webServer()
	var accepting, serving sync.WaitGroup
	failed := make(chan error, 2)
	accepting.Go(func() { failed <- s.accept(ctx) })
	serving.Go(func() { failed <- web.Serve(s.h2) })

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.cfg.Listener.Close()
	s.callsMu.Lock()
	s.stop()
	s.callsMu.Unlock()
	s.raft.Close()
	grace, cancel := context.WithTimeout(context.Background(), s.cfg.Grace)
	defer cancel()
	_ = web.Shutdown(grace) // an error means that calls are still running
	web.Close()
	s.conns.closeAll()
	accepting.Wait()
	serving.Wait()
	waitFor(&s.calls, s.cfg.Grace) // handlers, whose contexts have ended now
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// webServer speaks HTTP/2 on connections whose handshake is done.
func (s *Server) webServer() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	return &http.Server{
		Handler:        http.HandlerFunc(s.serveHTTP),
		TLSConfig:      &tls.Config{NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13}, // makes net/http set up HTTP/2
		Protocols:      protocols,
		MaxHeaderBytes: 16 << 10,
		IdleTimeout:    2 * time.Minute,
		ErrorLog:       slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 250,
			SendPingTimeout:      s.cfg.PingInterval,
			PingTimeout:          s.cfg.PingTimeout,
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, s.conns.get(c))
		},
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				s.conns.remove(c)
			}
		},
	}
}

// waitFor waits for wg, at most d.
func waitFor(wg *sync.WaitGroup, d time.Duration) {
	done := make(chan struct{})
	go func() { // ends with the last handler, which the closed connections end
		wg.Wait()
		close(done)
	}()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}
