package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/supervise"
	"github.com/stackato/stackato/wire/rpcerr"
)

// Agent is the daemon of one machine. Make it with [New], then call
// [Agent.Run] once.
type Agent struct {
	cfg     Config
	log     *slog.Logger
	store   store
	started time.Time
	handler http.Handler // the local API
	http    *healthServer
	onReady func() // systemd's notification, or nil
	// platform is nil for a node that is a member only.
	platform Platform

	// setup is held while the machine is made a member, or leaves.
	setup sync.Mutex

	mu         sync.Mutex
	node       *runtime      // nil while unconfigured
	configured chan struct{} // gets a token when the machine was set up
	end        supervise.End // what becomes of the children when Run ends
}

// New returns the agent of the machine with the given configuration. onReady,
// if not nil, is called when the local API answers.
func New(cfg Config, log *slog.Logger, onReady func()) *Agent {
	a := &Agent{
		cfg: cfg, log: log, store: store{cfg}, onReady: onReady,
		configured: make(chan struct{}, 1), end: supervise.Detach,
	}
	a.handler = local.NewHandler(&backend{a}, log)
	a.http = newHealthServer(a)
	return a
}

// StopChildren makes Consul and Nomad end with the agent. Without it they are
// left running for the next agent to adopt, as in an upgrade.
func (a *Agent) StopChildren() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.end = supervise.Stop
	if a.node != nil {
		a.node.kids.atEnd(supervise.Stop)
	}
}

// handOverLimit bounds how long a Primary that ends waits for another one.
const handOverLimit = 6 * time.Second

// HandOver makes another voter the Primary if this node is it: call it before
// Run's context ends, and no election has to wait for this node's silence. It
// changes nothing where no other voter can take over.
func (a *Agent) HandOver(ctx context.Context) {
	r := a.current()
	if r == nil || r.role == nil || r.role.cons.LeadTerm() == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, handOverLimit)
	defer cancel()
	if err := r.role.cons.HandOver(ctx); err != nil && !errors.Is(err, rpcerr.Precondition) {
		r.log.Warn("hand over to another Primary before the agent ends; the others will elect one", "err", err)
	}
}

// Run serves until ctx is done. It takes the data directory's lock, offers
// the local API, and runs the node while the machine is a member.
func (a *Agent) Run(ctx context.Context) error {
	a.started = time.Now()
	if err := a.store.makeDirs(); err != nil {
		return err
	}
	unlock, err := lockDir(a.cfg)
	if err != nil {
		return err
	}
	defer unlock()
	l, err := local.Listen(a.cfg.SocketPath())
	if err != nil {
		return err
	}
	h, err := net.Listen("tcp", a.http.addr())
	if err != nil {
		return errors.Join(fmt.Errorf("health and metrics: %w", err), l.Close())
	}
	parts := newLifecycle(ctx)
	parts.start("health and metrics", func(ctx context.Context) error { return a.http.run(ctx, h) })
	parts.start("local API", func(ctx context.Context) error { return local.Serve(ctx, l, a.handler, a.log) })
	if a.onReady != nil {
		a.onReady()
	}
	lives, cancel := context.WithCancel(ctx)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- a.lives(lives) }()
	select {
	case err = <-parts.failed:
		cancel()
		err = errors.Join(err, <-result)
	case err = <-result:
	}
	return errors.Join(err, parts.stop())
}

// lives runs one life as a member after the other, and waits in between.
func (a *Agent) lives(ctx context.Context) error {
	for ctx.Err() == nil {
		_, ok, err := a.store.identity()
		if err != nil {
			return err
		}
		if !ok {
			a.log.Info("this machine is in no cluster yet; waiting for: stackato-agent init, or stackato-agent join")
			select {
			case <-ctx.Done():
			case <-a.configured:
			}
			continue
		}
		if err := a.life(ctx); err != nil {
			return err
		}
	}
	return nil
}

// life runs the node until ctx is done, it has left, or its duties changed so
// much that it begins anew.
func (a *Agent) life(ctx context.Context) error {
	r, err := newRuntime(a)
	if err != nil {
		return err
	}
	again, err := r.run(ctx, func() { // not before: the local API uses its parts
		a.mu.Lock()
		defer a.mu.Unlock()
		r.kids.atEnd(a.end)
		a.node = r
	})
	if err == nil && again != nil {
		err = again() // before the node is gone from view: leave waits for both
	}
	a.mu.Lock()
	a.node = nil
	a.mu.Unlock()
	return err
}

// current returns the running node, nil while unconfigured.
func (a *Agent) current() *runtime {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.node
}

// wake tells lives that the machine has been set up.
func (a *Agent) wake() {
	select {
	case a.configured <- struct{}{}:
	default:
	}
}

// lockDir makes sure that one agent at a time works on a data directory.
func lockDir(cfg Config) (unlock func(), err error) {
	f, err := os.OpenFile(cfg.lockFile(), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s is in use by another stackato-agent: it runs already (see kato status), or has to be stopped first", cfg.DataDir)
	}
	return func() { f.Close() }, nil
}

// Locked runs fn while no agent runs on the data directory; it fails if one
// does. The command line uses it to set a machine up before its agent runs.
func Locked(cfg Config, fn func() error) error {
	if err := (store{cfg}).makeDirs(); err != nil {
		return err
	}
	unlock, err := lockDir(cfg)
	if err != nil {
		return err
	}
	defer unlock()
	return fn()
}
