package serfagent

import (
	"context"
	"syscall"

	"github.com/stackato/stackato/agent/supervise"
)

// Apply brings a child to its specification: by a restart when it needs one;
// else, when its configuration file has changed, by a reload.
//
// A process keeps the gossip keys it has in memory. When keys are rotated, write the
// new list first, then use the keyring calls of its client; a node that was
// cut off at that time needs a Restart of its child.
func Apply(ctx context.Context, child *supervise.Child, spec supervise.Spec, changed bool) error {
	before := child.Status()
	if err := child.Update(ctx, spec); err != nil {
		return err
	}
	if now := child.Status(); !changed || !now.Alive() || now.PID != before.PID {
		return nil
	}
	return Reload(ctx, child)
}

// Reload makes a process that lives read its files again. One that is not ready
// is restarted: the signal would end it or, as a Consul that starts does not listen,
// be lost, and what it waits for may be what changed.
func Reload(ctx context.Context, child *supervise.Child) error {
	if child.Status().State != supervise.Running {
		return child.Restart(ctx)
	}
	return child.Signal(ctx, syscall.SIGHUP)
}
