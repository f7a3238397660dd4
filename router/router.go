package router

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stackato/stackato/router/proxy"
	"github.com/stackato/stackato/router/table"
	"github.com/stackato/stackato/router/watch"
	"github.com/stackato/stackato/wire/logs"
	"github.com/stackato/stackato/wire/routing"
)

// Config is what a Router needs. Zero values stand for their defaults.
type Config struct {
	// HTTP, HTTPS and Health are addresses to listen on, such as ":80", ":443" and
	// "127.0.0.1:8080"; "" listens not. The listeners, where set, are used instead;
	// Run closes them.
	HTTP, HTTPS, Health                         string
	HTTPListener, HTTPSListener, HealthListener net.Listener

	// Certificates finds the certificate for a TLS handshake; see Certificates.
	// Needed for HTTPS.
	Certificates func(*tls.ClientHelloInfo) (*tls.Certificate, error)

	// Feed is where routes come from; TableFile is where they are kept ("" keeps
	// none). Its directory must exist.
	Feed      watch.Feed
	TableFile string
	Watch     watch.Config // timing only: the other fields are set by New

	// SystemTLS is how controllers are reached; nil is plain HTTP, for tests. The
	// server name is the target's host unless it sets one.
	SystemTLS *tls.Config

	// Confirm asks a node whether address belongs to the allocation; nil is yes. It
	// is asked before connections are made while no controller feeds the router.
	Confirm func(ctx context.Context, node, address, allocID string) error

	// TrustedProxies are peers whose X-Forwarded-* headers are believed: load
	// balancers in front. See SetBalancers for changes.
	TrustedProxies []netip.Prefix

	// AccessLog is the file with a line per request ("" keeps none), set aside when
	// it has AccessLogBytes (default 100 MiB); AccessLogKeep of these are kept
	// (default 5). Log takes the same lines for apps' logs; it must not block.
	AccessLog      string
	AccessLogBytes int64
	AccessLogKeep  int
	Log            func(logs.Line)

	Limits proxy.Limits

	// Settle is how long Withdraw waits when requests are in flight, for the app to
	// read what has arrived: one that stops at once closes connections on which it
	// has read nothing yet. Default 20 ms.
	Settle time.Duration

	// At the end Run tells /health and goes on for what DrainWait returns then (nil:
	// not at all) so that load balancers notice, then takes no new connections and
	// lets requests go on for DrainTimeout (default 30 s).
	DrainWait    func() time.Duration
	DrainTimeout time.Duration

	Logger *slog.Logger // nil is slog.Default()
}

// Router is one node's router. Use New.
type Router struct {
	cfg     Config
	log     *slog.Logger
	table   *table.Table
	watch   *watch.Watch
	front   front
	metrics *proxy.Metrics
	access  *proxy.LogFile

	balancers balancers
}

// front is the data path. proxy.Proxy is one; a faster one may take its place.
type front interface {
	http.Handler
	// Bound returns l with connections that end when their client does not take
	// what it is sent. l is the system's own listener.
	Bound(l net.Listener) net.Listener
	// Serve answers on l until Drain; nil certificates are plain HTTP.
	Serve(l net.Listener, certificates *tls.Config) error
	// Drain stops Serve and waits for what is in flight until ctx ends. It returns
	// the number of requests that were cut.
	Drain(ctx context.Context) (cut int)
	// Trust sets the peers whose X-Forwarded-* headers are believed.
	Trust(proxies []netip.Prefix)
	// Run does what goes on beside requests until ctx ends.
	Run(ctx context.Context) error
}

// New wires a router up and starts nothing.
func New(cfg Config) (*Router, error) {
	if cfg.Feed == nil {
		return nil, errors.New("router: no feed")
	}
	if (cfg.HTTPS != "" || cfg.HTTPSListener != nil) && cfg.Certificates == nil {
		return nil, errors.New("router: HTTPS without certificates")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = 30 * time.Second
	}
	if cfg.Settle == 0 {
		cfg.Settle = 20 * time.Millisecond
	}
	r := &Router{cfg: cfg, log: cfg.Logger, table: table.New(nil), metrics: proxy.NewMetrics()}
	w := cfg.Watch
	w.Feed, w.Table, w.File, w.Logger = cfg.Feed, r.table, cfg.TableFile, cfg.Logger
	r.watch = watch.New(w)
	p := proxy.Config{
		Table: r.table, SystemTLS: cfg.SystemTLS, Stale: r.watch.Stale, Confirm: cfg.Confirm,
		TrustedProxies: cfg.TrustedProxies, Log: cfg.Log, Metrics: r.metrics, Logger: cfg.Logger, Limits: cfg.Limits,
	}
	if cfg.AccessLog != "" {
		size, keep := cfg.AccessLogBytes, cfg.AccessLogKeep
		if size == 0 {
			size = 100 << 20
		}
		if keep == 0 {
			keep = 5
		}
		r.access = proxy.NewLogFile(cfg.AccessLog, size, keep)
		p.AccessLog = r.access
	}
	r.front = proxy.New(p)
	return r, nil
}

// Handler answers requests as the listeners do. Run must be running.
func (r *Router) Handler() http.Handler { return r.front }

// Withdraw takes an instance out: when it returns nil no new request goes there.
// Requests in flight are not touched. It returns ctx's error if requests that
// were on their way to the instance before did not get there in time; new ones
// are kept away even then.
func (r *Router) Withdraw(ctx context.Context, w routing.Withdrawal) error {
	inFlight, err := r.table.Withdraw(ctx, w)
	if err != nil {
		return fmt.Errorf("withdraw %s: requests are still on their way to it: %w", w.AllocID, err)
	}
	if inFlight > 0 {
		select {
		case <-time.After(r.cfg.Settle):
		case <-ctx.Done():
		}
	}
	return nil
}

// Stale reports whether no controller feeds the router.
func (r *Router) Stale() bool { return r.watch.Stale() }

// Position says how far the router has read its feed.
func (r *Router) Position() routing.Position { return r.table.Position() }

// Run listens, routes, and, when ctx ends, drains. It returns an error if it
// cannot listen or a listener fails.
func (r *Router) Run(ctx context.Context) error {
	listeners, err := r.listen()
	if err != nil {
		return err
	}
	// What serves requests outlives ctx: it ends after the drain.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var beside errgroup.Group
	beside.Go(func() error { return r.watch.Run(background) })
	beside.Go(func() error { return r.front.Run(background) })

	health := newHealth(r)
	serving, failed := errgroup.WithContext(ctx)
	for _, l := range listeners {
		serving.Go(func() error {
			if l.health {
				return health.serve(l.Listener)
			}
			return r.front.Serve(l.Listener, l.tls)
		})
		r.log.Info("router listens", "address", l.Addr(), "tls", l.tls != nil)
	}
	<-failed.Done() // asked to stop, or a listener broke

	r.drain(ctx, health)
	err = serving.Wait()
	stop()
	err = errors.Join(err, beside.Wait())
	r.table.CloseIdle()
	if r.access != nil {
		err = errors.Join(err, r.access.Close())
	}
	return err
}

func (r *Router) drain(ctx context.Context, health *health) {
	health.draining.Store(true)
	ctx = context.WithoutCancel(ctx)
	if r.cfg.DrainWait != nil {
		if wait := r.cfg.DrainWait(); wait > 0 {
			r.log.Info("router stops soon, load balancers may notice", "in", wait)
			time.Sleep(wait)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.DrainTimeout)
	defer cancel()
	if cut := r.front.Drain(ctx); cut > 0 {
		r.log.Warn("router has stopped, requests were cut off", "count", cut)
	} else {
		r.log.Info("router has stopped, every request was answered")
	}
	health.close()
}

// listener is one with what is spoken on it.
type listener struct {
	net.Listener
	tls    *tls.Config
	health bool
}

// listen opens all listeners or none.
func (r *Router) listen() (out []listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range out {
				l.Close()
			}
			out = nil
		}
	}()
	add := func(have net.Listener, address string, certificates *tls.Config, health bool) error {
		if have == nil {
			if address == "" {
				return nil
			}
			var plain net.ListenConfig
			plain.SetMultipathTCP(false) // has not the limits of TCP
			l, err := plain.Listen(context.Background(), "tcp", address)
			if err != nil {
				return fmt.Errorf("router: %w (does another program use the port?)", err)
			}
			have = l
		}
		if !health {
			have = r.balancers.listener(r.front.Bound(have))
		}
		out = append(out, listener{have, certificates, health})
		return nil
	}
	if err := add(r.cfg.HTTPListener, r.cfg.HTTP, nil, false); err != nil {
		return out, err
	}
	certificates := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: r.cfg.Certificates}
	if err := add(r.cfg.HTTPSListener, r.cfg.HTTPS, certificates, false); err != nil {
		return out, err
	}
	return out, add(r.cfg.HealthListener, r.cfg.Health, nil, true)
}
