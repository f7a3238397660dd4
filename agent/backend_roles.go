package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/supervise"
)

// Roles implements local.RoleBackend.
func (b *backend) Roles(ctx context.Context) ([]local.RoleView, error) {
	out := []local.RoleView{}
	var nodes []node.Node
	if r := b.a.current(); r != nil {
		t, err := ask(ctx, r, cluster.MethodTopology, &cluster.TopologyRequest{Fresh: true})
		if err != nil {
			return nil, err
		}
		nodes = t.Nodes
	}
	for _, info := range node.Roles() {
		v := local.RoleView{RoleInfo: info, Nodes: []string{}, Required: info.Role == node.Base || info.Role == node.Controller || info.Role == node.Router}
		for _, n := range nodes {
			if n.Roles.Has(info.Role) {
				v.Nodes = append(v.Nodes, n.Name)
			}
		}
		slices.Sort(v.Nodes)
		out = append(out, v)
	}
	return out, nil
}

// Groups implements local.RoleBackend.
func (b *backend) Groups(context.Context) ([]local.GroupView, error) {
	groups, err := readGroups(b.a.cfg.RoleGroups)
	if err != nil {
		return nil, err
	}
	builtin := node.BuiltinGroups()
	out := []local.GroupView{}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		_, is := builtin[name]
		out = append(out, local.GroupView{Name: name, Roles: groups[name], Builtin: is})
	}
	return out, nil
}

// ChangeRoles implements local.RoleBackend.
func (b *backend) ChangeRoles(ctx context.Context, req local.RoleChange, p local.Progress) (local.RoleChangeResult, error) {
	r, err := b.member()
	if err != nil {
		return local.RoleChangeResult{}, err
	}
	groups, err := readGroups(b.a.cfg.RoleGroups)
	if err != nil {
		return local.RoleChangeResult{}, err
	}
	n, err := r.find(ctx, req.Node)
	if err != nil {
		return local.RoleChangeResult{}, err
	}
	want, err := req.Apply(n.Roles, groups)
	if err != nil {
		return local.RoleChangeResult{}, err
	}
	out := local.RoleChangeResult{Node: n.Name, Before: n.Roles, Roles: n.Roles, Generation: n.Generation, Warnings: []string{}}
	if want == n.Roles {
		return out, nil
	}
	stopped := n.StoppedRoles & want
	if req.NoStart {
		stopped = stopped.With(want.Without(n.Roles).Without(node.NewRoleSet(node.Base, node.Controller)))
	}
	step := stepper(p)
	step("change the roles of " + n.Name)
	changed, err := ask(ctx, r, cluster.MethodSetRoles, &cluster.RoleRequest{Node: n.ID, Roles: want, Generation: n.Generation, Stopped: &stopped})
	if err != nil {
		return out, err
	}
	step("")
	out.Roles, out.Generation = changed.Roles, changed.Generation
	out.Warnings = append(out.Warnings, notInstalledWarnings(want.Without(n.Roles))...)
	if g := r.gossipState(n.ID); n.ID != r.id.ID && g != "alive" {
		out.Warnings = append(out.Warnings, fmt.Sprintf("%s does not answer now (gossip: %s); it takes the roles over when it is back", n.Name, first(g, "never seen")))
	}
	return out, nil
}

// ControlRoles implements local.ProcessBackend.
func (b *backend) ControlRoles(ctx context.Context, req local.RoleControl, p local.Progress) (local.RoleControlResult, error) {
	r, err := b.member()
	if err != nil {
		return local.RoleControlResult{}, err
	}
	self := r.dir.get().Self
	out := local.RoleControlResult{Node: self.Name, Warnings: []string{}}
	roles, err := b.controlled(req, self)
	if err != nil {
		return out, err
	}
	stopped := self.StoppedRoles
	switch req.Op {
	case local.ControlStop:
		stopped = stopped.With(roles)
	case local.ControlStart:
		stopped = stopped.Without(roles)
	case local.ControlRestart:
		if err := b.restartRoles(ctx, r, roles, p); err != nil {
			return out, err
		}
		stopped = stopped.Without(roles)
	default:
		return out, local.Errorf(local.CodeInvalid, "use start, stop or restart", "unknown operation %.40q", req.Op)
	}
	if stopped != self.StoppedRoles {
		step := stepper(p)
		step(fmt.Sprintf("%s %s", req.Op, roles))
		if _, err := ask(ctx, r, cluster.MethodUpdateNode, &cluster.NodeUpdate{Node: r.id.ID, Stopped: &stopped}); err != nil {
			return out, err
		}
		if err := r.waitStopped(ctx, stopped); err != nil {
			return out, err
		}
		step("")
	}
	out.Warnings = append(out.Warnings, notInstalledWarnings(roles)...)
	out.Roles = r.roleStatus(ctx)
	return out, nil
}

// controlled resolves which roles an operation is about. Base and controller
// are never stopped: a controller without its duty is no controller.
func (b *backend) controlled(req local.RoleControl, self node.Node) (node.RoleSet, error) {
	fixed := node.NewRoleSet(node.Base, node.Controller)
	if len(req.Names) == 0 {
		if req.Op == local.ControlRestart {
			return self.Roles, nil
		}
		return self.Roles.Without(fixed), nil
	}
	groups, err := readGroups(b.a.cfg.RoleGroups)
	if err != nil {
		return 0, err
	}
	roles, err := groups.Resolve(req.Names...)
	if err != nil {
		return 0, local.Errorf(local.CodeNotFound, "see: kato role list", "%v", err)
	}
	if missing := roles.Without(self.Roles); missing != 0 {
		return 0, local.Errorf(local.CodeNotFound, "assign it first: kato role add "+missing.String(), "%s does not have the role %s", self.Name, missing)
	}
	if req.Op == local.ControlStop && roles.HasAny(fixed) {
		return 0, local.Errorf(local.CodeRefused, "to take a controller out of service: kato role remove controller", "base and controller are never stopped")
	}
	return roles, nil
}

// restartRoles restarts the processes behind roles, Consul first.
func (b *backend) restartRoles(ctx context.Context, r *runtime, roles node.RoleSet, p local.Progress) error {
	for _, name := range []string{"consul", "nomad"} {
		child, ok := r.kids.child(name)
		if !ok || !roles.HasAny(processRoles(r.dir.get(), name)) {
			continue
		}
		step := stepper(p)
		step("restart " + name)
		if err := child.Restart(ctx); err != nil {
			return err
		}
		if err := child.AwaitReady(ctx); err != nil {
			return err
		}
		step("")
	}
	return nil
}

// processRoles are the roles of this node that a process works for.
func processRoles(a cluster.Assignment, name string) node.RoleSet {
	if name == "consul" {
		return node.NewRoleSet(node.Base)
	}
	var out node.RoleSet
	for _, role := range a.Self.Roles.List() {
		set := node.NewRoleSet(role)
		if set.RunsNomadClient() || role == node.Controller && a.IsVoter() {
			out = out.With(set)
		}
	}
	return out
}

// waitStopped waits until this node works from the stopped set, and its
// processes follow.
func (r *runtime) waitStopped(ctx context.Context, stopped node.RoleSet) error {
	for {
		a, changed := r.dir.watch()
		if a.Self.StoppedRoles == stopped {
			return r.waitProcesses(ctx, a)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// waitProcesses waits until Nomad runs exactly if it should.
func (r *runtime) waitProcesses(ctx context.Context, a cluster.Assignment) error {
	if !r.cfg.Children || a.IsVoter() {
		return nil
	}
	child, ok := r.kids.child("nomad")
	if ok && !runsClient(a) {
		_, err := child.Await(ctx, func(s supervise.Status) bool { return !s.Alive() })
		if err != nil && !isEnded(err) {
			return err
		}
	}
	return nil
}
