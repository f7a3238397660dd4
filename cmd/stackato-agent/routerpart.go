package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stackato/stackato/agent"
	"github.com/stackato/stackato/router"
	"github.com/stackato/stackato/router/proxy"
	"github.com/stackato/stackato/wire/routing"
)

// routerPart is the router of this node.
type routerPart struct {
	*router.Router
	certificates *router.Certificates
	config       func() (agent.RouterConfig, <-chan struct{})
	sockets      *sockets
	stays        func() bool
}

// Names of the router's sockets in systemd's store: the next release looks for
// them.
const (
	socketHTTP  = "router-http"
	socketHTTPS = "router-https"
)

// feed implements watch.Feed over the node's own.
type feed func(ctx context.Context, update func(*routing.Update) error) error

// Subscribe implements watch.Feed. Every subscription begins with a snapshot.
func (f feed) Subscribe(ctx context.Context, _ routing.Position, apply func(*routing.Update) error) error {
	return f(ctx, apply)
}

// drainWithin bounds how long requests go on when the agent ends.
const drainWithin = 10 * time.Second

func newRouter(env agent.RouterEnv, kept *sockets) (agent.Router, error) {
	if err := os.MkdirAll(env.Dir, 0o700); err != nil {
		return nil, err
	}
	certificates := &router.Certificates{Default: env.Certificate}
	config, _ := env.Config()
	plain, err := kept.listen(socketHTTP, env.HTTP)
	if err != nil {
		return nil, fmt.Errorf("router: %w (does another program use the port?)", err)
	}
	secure, err := kept.listen(socketHTTPS, env.HTTPS)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("router: %w (does another program use the port?)", err), plain.Close())
	}
	r, err := router.New(router.Config{
		HTTPListener: plain, HTTPSListener: secure, Health: env.Health, Certificates: certificates.Get,
		Feed: feed(env.Feed), TableFile: filepath.Join(env.Dir, "routes.json"),
		SystemTLS: env.ControllerTLS, Confirm: env.Confirm,
		DrainWait: func() time.Duration { now, _ := env.Config(); return now.DrainWait }, DrainTimeout: drainWithin, Limits: proxy.Limits{IdleTimeout: config.Idle, ResponseTimeout: config.Response, Stall: config.Stall},
		AccessLog: filepath.Join(env.Dir, "access.log"), Log: env.Logs.Append, Logger: env.Logger,
	})
	if err != nil {
		return nil, errors.Join(err, plain.Close(), secure.Close())
	}
	p := routerPart{r, certificates, env.Config, kept, env.Stays}
	p.apply(config)
	return p, nil
}

// Run implements agent.Router.
func (p routerPart) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.follow(ctx) })
	group.Go(func() error { return p.Router.Run(ctx) })
	err := group.Wait()
	if !p.stays() { // else the next one goes on with them
		p.sockets.drop(socketHTTP, socketHTTPS)
	}
	return err
}

// follow takes over what operators change, without a break.
func (p routerPart) follow(ctx context.Context) error {
	for {
		config, changed := p.config()
		p.apply(config)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

func (p routerPart) apply(config agent.RouterConfig) {
	p.certificates.Set(nil, config.Certificates)
	p.SetBalancers(config.TrustedProxies, config.ProxyProtocol)
}

// Ready implements agent.Router. A stale table is no reason to stay away.
func (p routerPart) Ready() error {
	if p.Position() == (routing.Position{}) {
		return errors.New("waits for its first routes from a controller")
	}
	return nil
}
