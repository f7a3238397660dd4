package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/stackato/stackato/agent/fence"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/resolver"
	"github.com/stackato/stackato/internal/atomicfile"
)

// clearTimeout bounds taking back what stands outside of the data directory.
const clearTimeout = 20 * time.Second

// clearMachine takes back what a member has left on the machine outside of its
// data directory: the firewall chains of fence, the address of the containers'
// resolver, and a micro cloud's names in the hosts file. It touches neither on a machine whose data directory says that
// this member never wrote them: another one may have.
func clearMachine(ctx context.Context, cfg Config, micro bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearTimeout)
	defer cancel()
	var errs []error
	if _, err := os.Stat(cfg.fenceDir()); err == nil {
		if err := fence.NewGuard(fence.GuardConfig{}).Remove(ctx); err != nil {
			errs = append(errs, fmt.Errorf("remove the firewall chains STACKATO-*: %w", err))
		}
		errs = append(errs, resolver.New(resolver.Config{}).Remove(ctx))
	}
	if micro && cfg.HostsFile != "" {
		if err := clearHosts(cfg.HostsFile); err != nil {
			errs = append(errs, fmt.Errorf("remove this cloud's names from %s: %w", cfg.HostsFile, err))
		}
	}
	return errors.Join(errs...)
}

// clearHosts removes our block from a hosts file.
func clearHosts(path string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		if os.IsNotExist(err) {
			return nil
		}
		return err
	}
	next := withHostsBlock(old, "")
	if len(next) == len(old) {
		return nil
	}
	return writeInPlace(path, next)
}

// forget ends the membership for good, after the node's parts have ended. What
// cannot be taken back outside of the data directory is said, and does not keep
// the node in.
func (r *runtime) forget() error {
	if err := clearMachine(context.Background(), r.cfg, r.dir.get().Micro); err != nil {
		r.log.Error("the node has left, but something of it is still on this machine", "err", err)
	}
	return r.store.wipe()
}

// clearRole takes back what belongs to a role that the node lost while its agent
// did not run, or before it had taken the role over: a controller's sealing
// keys, fence's chains.
func (r *runtime) clearRole(ctx context.Context) {
	has := r.dir.get().Self.Roles
	if !has.Has(node.Controller) {
		if err := atomicfile.Remove(r.cfg.ringFile()); err != nil {
			r.log.Error("the node has no controller role any more, but its sealing keys are still there", "err", err)
		}
	}
	if has.Has(node.DEA) {
		return
	}
	if err := clearMachine(ctx, r.cfg, false); err != nil {
		r.log.Error("the node has no dea role any more, but its firewall chains are still there", "err", err)
	}
}

// Reset forgets the machine's membership: it deletes everything that init or
// join made, and takes back what the member wrote outside of its data
// directory. Consul and Nomad must not run any more.
func Reset(cfg Config) error {
	s := store{cfg}
	var left error
	if _, ok, err := s.identity(); ok || err != nil { // a damaged identity is one, too
		a, err := s.assignment()
		left = clearMachine(context.Background(), cfg, err != nil || a.Micro)
	}
	return errors.Join(s.wipe(), left)
}
