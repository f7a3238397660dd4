package agent

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
)

// roleParts runs what this node's roles need inside of the agent: fence for
// the DEA, the router. Roles come and go; a part that fails is started again.
type roleParts struct {
	r      *runtime
	makers map[node.Role]func() (rolePart, error)

	mu    sync.Mutex
	parts map[node.Role]*runningPart
}

// rolePart is one of them. Run blocks until ctx is done.
type rolePart interface {
	Run(ctx context.Context) error
	Ready() error
}

type runningPart struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu   sync.Mutex
	part rolePart
	err  error // why it does not run
}

// get returns the part while it runs, else why it does not.
func (p *runningPart) get() (rolePart, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.part, p.err
}

func (p *runningPart) set(part rolePart, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.part, p.err = part, err
}

// Pauses before a part that failed is started again.
const (
	partPause    = 200 * time.Millisecond
	partPauseMax = 10 * time.Second
)

var errPartStarting = errors.New("it is starting")

func newRoleParts(r *runtime) *roleParts {
	p := &roleParts{r: r, parts: map[node.Role]*runningPart{}, makers: map[node.Role]func() (rolePart, error){}}
	if r.agent.platform != nil {
		p.makers[node.DEA] = func() (rolePart, error) { return newDEA(r) }
		p.makers[node.Router] = func() (rolePart, error) { return newRouterRole(r) }
	}
	return p
}

// run follows the node's roles until ctx is done.
func (p *roleParts) run(ctx context.Context) error {
	for ctx.Err() == nil {
		a, changed := p.r.dir.watch()
		p.reconcile(ctx, a)
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
	for role := range p.makers {
		p.stop(role)
	}
	return nil
}

func (p *roleParts) reconcile(ctx context.Context, a cluster.Assignment) {
	has := a.Self.Roles.Without(a.Self.StoppedRoles)
	for _, role := range slices.Sorted(maps.Keys(p.makers)) { // the DEA first: the router asks it
		open := p.makers[role]
		if has.Has(role) && p.r.isRemoved() == nil {
			p.start(ctx, role, open)
		} else {
			p.stop(role)
		}
	}
}

func (p *roleParts) start(ctx context.Context, role node.Role, open func() (rolePart, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.parts[role] != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	run := &runningPart{cancel: cancel, done: make(chan struct{}), err: errPartStarting}
	p.parts[role] = run
	go func() {
		defer close(run.done)
		p.keep(ctx, role, run, open)
	}()
}

// keep runs the part again and again.
func (p *roleParts) keep(ctx context.Context, role node.Role, run *runningPart, open func() (rolePart, error)) {
	for pause := partPause; ctx.Err() == nil; pause = min(2*pause, partPauseMax) {
		began := time.Now()
		part, err := open()
		if err == nil {
			run.set(part, nil)
			err = part.Run(ctx)
		}
		if ctx.Err() != nil {
			if err != nil && !errors.Is(err, context.Canceled) {
				p.r.log.Warn("end the role's part", "role", role, "err", err)
			}
			return
		}
		if err == nil {
			err = errors.New("it ended by itself")
		}
		run.set(nil, err)
		if time.Since(began) > partPauseMax {
			pause = partPause
		}
		p.r.log.Error("a role's part does not run; it is started again", "role", role, "err", err, "pause", pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

func (p *roleParts) stop(role node.Role) {
	p.mu.Lock()
	run := p.parts[role]
	delete(p.parts, role)
	p.mu.Unlock()
	if run != nil {
		run.cancel()
		<-run.done
	}
}

// get returns a role's part, or why it does not run here.
func (p *roleParts) get(role node.Role) (rolePart, error) {
	p.mu.Lock()
	run := p.parts[role]
	p.mu.Unlock()
	if run == nil {
		return nil, errNoRole(role)
	}
	part, err := run.get()
	if part == nil && err == nil {
		err = errPartStarting
	}
	return part, err
}

// state is how a role's part fares.
func (p *roleParts) state(role node.Role) (local.State, string) {
	if p.makers[role] == nil {
		return local.StateRunning, ""
	}
	part, err := p.get(role)
	if err == nil {
		err = part.Ready()
	}
	switch {
	case err == nil:
		return local.StateRunning, ""
	case errors.Is(err, errPartStarting) || part != nil:
		return local.StateStarting, err.Error()
	}
	return local.StateFailed, err.Error()
}
