package agent

import (
	"context"
	"time"

	"github.com/stackato/stackato/agent/supervise/consul"
	"github.com/stackato/stackato/agent/supervise/nomad"
	"github.com/stackato/stackato/agent/supervise/serfagent"
)

// Bounds of leaving a group of servers.
const (
	stepDownTimeout = 10 * time.Second // one try
	stepDownLimit   = 30 * time.Second // of tries; then the process ends all the same
)

// isServer reports whether a process so configured is a server.
func isServer(c childConfig) bool {
	switch c := c.(type) {
	case consul.Config:
		return c.Server
	case nomad.Config:
		return c.Server
	}
	return false
}

// runsServer reports whether a server runs here. Until it has ended the node
// keeps the certificate that the other servers accept.
func (k *children) runsServer() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.procs {
		if p.child != nil && isServer(p.config) {
			return true
		}
	}
	return false
}

// stepDown takes this node out of the servers of Consul or Nomad, while its
// server still runs: one that ends first counts as a voter on, and when two of
// three do that together the third can remove neither. A last voter stays. An
// error means that it has to be tried again.
func (k *children) stepDown(ctx context.Context, name string) error {
	err := k.tryStepDown(ctx, name)
	k.mu.Lock()
	defer k.mu.Unlock()
	switch since, tried := k.stepping[name]; {
	case err == nil:
	case !tried:
		k.stepping[name] = time.Now()
		return err
	case time.Since(since) < stepDownLimit:
		return err
	default:
		k.log.Error("end the server although its group may still count on it", "process", name, "err", err)
	}
	delete(k.stepping, name)
	return nil
}

func (k *children) tryStepDown(ctx context.Context, name string) error {
	if k.r.role == nil {
		return nil // nobody here may; the Primary does it
	}
	consulToken, nomadToken, err := k.r.role.ctl.ManagementTokens()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stepDownTimeout)
	defer cancel()
	id := string(k.r.id.ID)
	if name == "consul" {
		c := consul.NewClient(consulHTTP, consulToken)
		defer c.Close()
		return serfagent.StepDown(ctx, c, id)
	}
	c := nomad.NewClient(nomadHTTP, nomadToken)
	defer c.Close()
	return serfagent.StepDown(ctx, c, id)
}

// retire ends a Nomad that is not wanted here any more. It takes its leave: a
// server that only stops stays a member of the servers' gossip until that
// misses it, most of a minute, and the leader would make it a peer again.
func (k *children) retire(ctx context.Context) {
	k.mu.Lock()
	p := k.procs["nomad"]
	server := p != nil && isServer(p.config)
	k.mu.Unlock()
	if p == nil || p.child == nil {
		k.remove("nomad")
		return
	}
	if server {
		if err := k.stepDown(ctx, "nomad"); err != nil {
			if ctx.Err() == nil {
				k.log.Warn("Nomad cannot leave the servers yet; will try again", "err", err)
			}
			return
		}
	}
	ctx, cancel := context.WithTimeout(ctx, stepDownTimeout)
	defer cancel()
	if err := p.child.StopBy(ctx, nomad.LeaveSignal); err != nil {
		k.log.Warn("Nomad could not take its leave", "err", err)
	}
	k.remove("nomad")
}
