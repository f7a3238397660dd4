package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/stackato/stackato/agent"
	"github.com/stackato/stackato/router"
	"github.com/stackato/stackato/wire/routing"
)

// routerPart is the router of this node.
type routerPart struct{ *router.Router }

// feed implements watch.Feed over the node's own.
type feed func(ctx context.Context, update func(*routing.Update) error) error

// Subscribe implements watch.Feed. Every subscription begins with a snapshot.
func (f feed) Subscribe(ctx context.Context, _ routing.Position, apply func(*routing.Update) error) error {
	return f(ctx, apply)
}

// drainWithin bounds how long requests go on when the agent ends.
const drainWithin = 10 * time.Second

func newRouter(env agent.RouterEnv) (agent.Router, error) {
	if err := os.MkdirAll(env.Dir, 0o700); err != nil {
		return nil, err
	}
	r, err := router.New(router.Config{
		HTTP: env.HTTP, HTTPS: env.HTTPS, Certificates: env.Certificate,
		Feed: feed(env.Feed), TableFile: filepath.Join(env.Dir, "routes.json"),
		SystemTLS: env.ControllerTLS, Confirm: env.Confirm,
		DrainTimeout: drainWithin,
		AccessLog:    filepath.Join(env.Dir, "access.log"), Log: env.Logs.Append, Logger: env.Logger,
	})
	return routerPart{r}, err
}

// Ready implements agent.Router. A stale table is no reason to stay away.
func (p routerPart) Ready() error {
	if p.Position() == (routing.Position{}) {
		return errors.New("waits for its first routes from a controller")
	}
	return nil
}
