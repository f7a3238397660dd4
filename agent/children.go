package agent

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/supervise"
	"github.com/stackato/stackato/agent/supervise/consul"
	"github.com/stackato/stackato/agent/supervise/nomad"
	"github.com/stackato/stackato/agent/supervise/serfagent"
)

// children keeps Consul and Nomad as the newest assignment wants them. Its
// methods are safe for concurrent use.
type children struct {
	r   *runtime
	log *slog.Logger

	wanted chan struct{} // gets a token when something may have to change

	mu     sync.Mutex
	end    supervise.End
	a      *cluster.Assignment // nil until assigned
	halted bool                // nothing may run (removed, or leaving)
	procs  map[string]*process
	// stepping holds since when a server has tried to leave its group.
	stepping map[string]time.Time
}

// process is a child that exists or should.
type process struct {
	child  *supervise.Child
	config childConfig // the newest: what the next start gets
	cancel context.CancelFunc
	done   chan struct{}
	ver    supervise.Version
	err    error // why it cannot be started, nil if it can
}

func newChildren(r *runtime) *children {
	return &children{
		r: r, log: r.log, end: supervise.Detach, wanted: make(chan struct{}, 1), procs: map[string]*process{},
		stepping: map[string]time.Time{},
	}
}

// assign tells what is wanted; run brings it about.
func (k *children) assign(a cluster.Assignment) {
	k.mu.Lock()
	k.a = &a
	k.mu.Unlock()
	k.poke()
}

func (k *children) poke() {
	select {
	case k.wanted <- struct{}{}:
	default:
	}
}

// atEnd sets what becomes of the processes when run ends.
func (k *children) atEnd(e supervise.End) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.end = e
	for _, p := range k.procs {
		if p.child != nil {
			p.child.AtEnd(e)
		}
	}
}

// run reconciles until ctx ends; then the processes are detached or stopped,
// Nomad first.
func (k *children) run(ctx context.Context) error {
	retry := time.NewTicker(5 * time.Second) // for programs and files that were missing
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			k.stopAll()
			return nil
		case <-k.wanted:
		case <-retry.C:
		}
		k.reconcile(ctx)
	}
}

// reconcile starts, changes and stops processes as the assignment asks.
func (k *children) reconcile(ctx context.Context) {
	k.mu.Lock()
	a, halted := k.a, k.halted
	k.mu.Unlock()
	if a == nil || !k.r.cfg.Children {
		return
	}
	if halted {
		k.remove("nomad")
		k.remove("consul")
		return
	}
	k.ensure(ctx, "consul", consul.Required, k.r.cfg.Consul, func(bin string) (childConfig, error) { return k.consulConfig(*a, bin) })
	if a.IsVoter() || runsClient(*a) {
		k.ensure(ctx, "nomad", nomad.Required, k.r.cfg.Nomad, func(bin string) (childConfig, error) { return k.nomadConfig(*a, bin) })
	} else {
		k.retire(ctx)
	}
}

// runsClient reports whether a Nomad client is wanted: a role needs it that
// is neither stopped nor missing from this release.
func runsClient(a cluster.Assignment) bool {
	return a.Self.Roles.Without(a.Self.StoppedRoles).RunsNomadClient()
}

// childConfig is what consul.Config and nomad.Config have in common here.
type childConfig interface {
	Spec() (supervise.Spec, error)
}

// ensure starts a process or brings it to its new configuration.
func (k *children) ensure(ctx context.Context, name string, need supervise.Requirement, path string, config func(bin string) (childConfig, error)) {
	k.mu.Lock()
	p := k.procs[name]
	if p == nil {
		p = &process{}
		k.procs[name] = p
	}
	k.mu.Unlock()
	err := k.bring(ctx, p, need, path, config)
	k.mu.Lock()
	changed := fmt.Sprint(p.err) != fmt.Sprint(err)
	p.err = err
	k.mu.Unlock()
	if err != nil && changed && ctx.Err() == nil {
		k.log.Error("cannot run "+name, "err", err)
	}
}

func (k *children) bring(ctx context.Context, p *process, need supervise.Requirement, path string, config func(bin string) (childConfig, error)) error {
	bin, err := locate(ctx, need, path)
	if err != nil {
		return err
	}
	c, err := config(bin.Path)
	if err != nil {
		return err
	}
	k.mu.Lock()
	child, was := p.child, p.config
	k.mu.Unlock()
	if child != nil && isServer(was) && !isServer(c) {
		if err := k.stepDown(ctx, need.Name); err != nil {
			return err
		}
	}
	k.mu.Lock()
	p.ver, p.config = bin.Version, c
	k.mu.Unlock()
	if child != nil {
		return applyConfig(ctx, child, c)
	}
	if child, err = k.newChild(p, c); err != nil {
		return err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := child.Run(run); err != nil {
			k.log.Error("supervise "+need.Name, "err", err)
		}
	}()
	k.mu.Lock()
	defer k.mu.Unlock()
	p.child, p.cancel, p.done = child, cancel, done
	return nil
}

// locate finds a program of a version that will do; a path from the
// configuration is used as it is.
func locate(ctx context.Context, need supervise.Requirement, path string) (supervise.Binary, error) {
	if path == "" {
		return supervise.Locate(ctx, need)
	}
	v, err := supervise.AskVersion(ctx, path)
	if err != nil || !need.Satisfied(v) {
		return supervise.Binary{}, &supervise.BinaryError{Need: need, Rejected: []supervise.Binary{{Path: path, Version: v, Err: err}}}
	}
	return supervise.Binary{Path: path, Version: v}, nil
}

// remove stops a process that is not wanted here any more.
func (k *children) remove(name string) {
	k.mu.Lock()
	p := k.procs[name]
	delete(k.procs, name)
	k.mu.Unlock()
	if p == nil || p.child == nil {
		return
	}
	p.child.AtEnd(supervise.Stop)
	p.cancel()
	<-p.done
}

func (k *children) stopAll() {
	for _, name := range []string{"nomad", "consul"} {
		k.mu.Lock()
		p := k.procs[name]
		k.mu.Unlock()
		if p == nil || p.child == nil {
			continue
		}
		p.cancel()
		<-p.done
	}
}

// halt stops everything and keeps it stopped.
func (k *children) halt(ctx context.Context) {
	k.mu.Lock()
	k.halted = true
	k.mu.Unlock()
	k.reconcile(ctx)
}

// resume ends a halt.
func (k *children) resume() {
	k.mu.Lock()
	k.halted = false
	k.mu.Unlock()
	k.poke()
}

// leave makes Consul and Nomad take their leave of their peers and end.
func (k *children) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 45*time.Second)
	defer cancel()
	a := k.r.dir.get()
	k.mu.Lock()
	k.halted = true
	nomadProc, consulProc := k.procs["nomad"], k.procs["consul"]
	k.mu.Unlock()
	if nomadProc != nil && nomadProc.child != nil {
		if err := nomadProc.child.StopBy(ctx, nomad.LeaveSignal); err != nil {
			k.log.Warn("Nomad could not take its leave", "err", err)
		}
	}
	if consulProc != nil && consulProc.child != nil {
		err := consulProc.child.Leave(ctx, func(ctx context.Context) error {
			c := consul.NewClient(consulHTTP, a.ConsulToken)
			defer c.Close()
			return c.Leave(ctx)
		})
		if err != nil {
			k.log.Warn("Consul could not take its leave", "err", err)
		}
	}
	k.reconcile(ctx)
}

// reloadTLS makes the processes read their certificates again.
func (k *children) reloadTLS(ctx context.Context) {
	k.mu.Lock()
	var list []*supervise.Child
	for _, p := range k.procs {
		if p.child != nil {
			list = append(list, p.child)
		}
	}
	k.mu.Unlock()
	for _, c := range list {
		if st := c.Status(); !st.Alive() {
			continue
		}
		if err := serfagent.Reload(ctx, c); err != nil && ctx.Err() == nil {
			k.log.Warn("reload certificates", "process", c.Status().Name, "err", err)
		}
	}
}

// consulHTTP and nomadHTTP are where the local APIs listen.
const (
	consulHTTP = "127.0.0.1:8500"
	nomadHTTP  = "127.0.0.1:4646"
)

// view is a process for status and process list.
type view struct {
	name   string
	status supervise.Status
	ver    supervise.Version
	err    error
}

// views lists the processes that should run, by name.
func (k *children) views() []view {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []view
	for _, name := range []string{"consul", "nomad"} {
		p := k.procs[name]
		if p == nil {
			continue
		}
		v := view{name: name, ver: p.ver, err: p.err}
		if p.child != nil {
			v.status = p.child.Status()
		}
		out = append(out, v)
	}
	return out
}

// child returns a process by name.
func (k *children) child(name string) (*supervise.Child, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.procs[name]
	if p == nil || p.child == nil {
		return nil, false
	}
	return p.child, true
}
