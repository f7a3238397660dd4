package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// flushInterval is how long a piece of a response of known length may wait for
// the next one; of unknown length and of event streams none waits. To flush every
// piece at once costs a sixth of the CPU of small responses: header and body
// are sent apart.
const flushInterval = 10 * time.Millisecond

// Proxy answers requests. Use New; Serve it on listeners, then Drain it.
type Proxy struct {
	cfg     Config
	log     *slog.Logger
	metrics *Metrics
	lines   *lineLog // nil: nobody wants lines
	reverse *httputil.ReverseProxy
	lookout *lookout
	buffers sync.Pool
	trusted atomic.Pointer[[]netip.Prefix]

	base     context.Context // of all requests, ended at the end of Drain
	cut      context.CancelFunc
	draining atomic.Bool
	active   atomic.Int64

	mu      sync.Mutex
	servers []*http.Server
}

// New returns a proxy that serves nothing yet.
func New(cfg Config) *Proxy {
	cfg.setDefaults()
	cfg.InstanceID = or(cfg.InstanceID, "0")
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics()
	}
	p := &Proxy{cfg: cfg, log: cfg.Logger, metrics: cfg.Metrics, lookout: newLookout(cfg.Lost)}
	p.Trust(cfg.TrustedProxies)
	p.base, p.cut = context.WithCancel(context.Background()) //nolint:gosec // Drain calls it
	p.buffers.New = func() any { b := make([]byte, 32<<10); return &b }
	p.reverse = &httputil.ReverseProxy{
		Rewrite:        p.rewrite,
		Transport:      (*dispatcher)(p),
		FlushInterval:  flushInterval,
		BufferPool:     (*bufferPool)(p),
		ModifyResponse: p.modifyResponse,
		ErrorHandler:   p.fail,
		ErrorLog:       slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	if cfg.AccessLog != nil || cfg.Log != nil {
		p.lines = newLineLog(p)
	}
	return p
}

// Trust replaces the TrustedProxies, for requests that come from now on.
func (p *Proxy) Trust(proxies []netip.Prefix) { p.trusted.Store(&proxies) }

// Run looks for machines that are lost, and writes the access log, until ctx ends,
// and what is left of it then. It must run while requests are answered.
func (p *Proxy) Run(ctx context.Context) error {
	var beside sync.WaitGroup
	beside.Go(func() { p.lookout.run(ctx, p.lost) })
	if p.lines != nil {
		beside.Go(func() { p.lines.run(ctx) })
	}
	beside.Wait()
	return nil
}

// lost counts connections that are given up.
func (p *Proxy) lost(all []*backendConn) {
	p.metrics.lost.Add(float64(len(all)))
	p.log.Warn("machines acknowledge nothing any more, connections to instances there are given up",
		"count", len(all), "one", all[0].RemoteAddr(), "dropped_from_routes", all[0].of.doubted.Load())
}

// Serve answers on l until Drain, then returns nil. With certificates it speaks
// TLS with HTTP/1.1 and HTTP/2, without plain HTTP/1.1 and HTTP/2 with prior
// knowledge.
func (p *Proxy) Serve(l net.Listener, certificates *tls.Config) error {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(certificates == nil)
	srv := &http.Server{
		Handler: p, Protocols: &protocols, TLSConfig: certificates,
		MaxHeaderBytes: p.cfg.HeaderBytes, ReadHeaderTimeout: p.cfg.HeaderTimeout, IdleTimeout: p.cfg.IdleTimeout,
		BaseContext: func(net.Listener) context.Context { return p.base },
		ErrorLog:    slog.NewLogLogger(p.log.Handler(), slog.LevelDebug), // strangers' mistakes
	}
	p.mu.Lock()
	if p.draining.Load() {
		p.mu.Unlock()
		return l.Close()
	}
	p.servers = append(p.servers, srv)
	p.mu.Unlock()
	var err error
	if certificates != nil {
		err = srv.ServeTLS(l, "", "")
	} else {
		err = srv.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Draining reports whether Drain was called.
func (p *Proxy) Draining() bool { return p.draining.Load() }

// Drain ends Serve: listeners and idle connections are closed, requests in
// flight and WebSockets may go on until ctx ends and are cut then. It returns
// how many were cut.
func (p *Proxy) Drain(ctx context.Context) (cut int) {
	p.mu.Lock()
	p.draining.Store(true)
	servers := p.servers
	p.mu.Unlock()
	var wg sync.WaitGroup
	for _, srv := range servers {
		srv.SetKeepAlivesEnabled(false)
		wg.Go(func() { _ = srv.Shutdown(ctx) }) // what is left is cut below
	}
	wg.Wait()
	// Shutdown does not count connections that were upgraded.
	cut = p.idle(ctx)
	p.cut()
	for _, srv := range servers {
		srv.Close()
	}
	// Those that were cut still write their lines.
	ended, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	p.idle(ended)
	return cut
}

// idle waits until no request is in flight or ctx ends, and returns how many are.
func (p *Proxy) idle(ctx context.Context) int {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for p.active.Load() > 0 && ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return int(p.active.Load())
}

// bufferPool lends the buffers through which bodies are copied.
type bufferPool Proxy

func (p *bufferPool) Get() []byte  { return *p.buffers.Get().(*[]byte) }
func (p *bufferPool) Put(b []byte) { p.buffers.Put(&b) }
