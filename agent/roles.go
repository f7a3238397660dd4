package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stackato/stackato/agent/catalog"
	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/fence"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/supervise"
)

// roleStatus says how each assigned role of this node fares.
func (r *runtime) roleStatus(ctx context.Context) []local.RoleStatus {
	out := []local.RoleStatus{}
	a := r.dir.get()
	for _, role := range a.Self.Roles.List() {
		out = append(out, r.oneRole(ctx, a, role))
	}
	return out
}

func (r *runtime) oneRole(ctx context.Context, a cluster.Assignment, role node.Role) local.RoleStatus {
	s := local.RoleStatus{Role: role, State: local.StateRunning}
	info, _ := role.Info()
	switch {
	case a.Self.StoppedRoles.Has(role):
		s.State = local.StateStopped
		return s
	case !info.Installed:
		s.State = local.StateNotInstalled
		return s
	case r.isRemoved() != nil:
		s.State, s.Detail = local.StateFailed, "the cluster does not know this node any more"
		return s
	}
	s.State, s.Detail = r.checkRole(ctx, a, role)
	return s
}

// checkRole asks the role itself.
func (r *runtime) checkRole(ctx context.Context, a cluster.Assignment, role node.Role) (local.State, string) {
	switch role {
	case node.Base:
		return r.worst("consul")
	case node.Controller:
		if state, why := r.consensusState(); state != local.StateRunning {
			return state, why
		}
		if r.role.cloud != nil {
			if err := r.role.cloud.Ready(); err != nil {
				return local.StateStarting, err.Error()
			}
		}
		if a.IsVoter() {
			return r.worst("consul", "nomad")
		}
		return r.worst("consul")
	case node.DEA:
		if state, why := r.worst("nomad"); state != local.StateRunning || !r.cfg.Children {
			return state, why
		}
		if err := r.dockerPing(ctx); err != nil {
			return local.StateFailed, err.Error()
		}
		return r.parts.state(role)
	case node.Router:
		return r.parts.state(role)
	}
	return local.StateRunning, ""
}

func (r *runtime) dockerPing(ctx context.Context) error {
	f, err := fence.NewEngine(r.cfg.DockerSocket)
	if err != nil {
		return err
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return f.Ping(ctx)
}

// consensusState tells whether this controller takes part and knows a
// Primary.
func (r *runtime) consensusState() (local.State, string) {
	if r.role == nil {
		return local.StateStarting, "the controller is being opened"
	}
	if err := r.role.cons.DiskErr(); err != nil {
		return local.StateFailed, fmt.Sprintf("the data disk does not take writes: %v", err)
	}
	if !r.role.inGroup() {
		return local.StateStarting, "waits to be taken into the Raft group"
	}
	if _, _, ok := r.role.cons.Leader(); !ok {
		return local.StateFailed, "no Primary is elected: more than half of the voters must be up"
	}
	if _, ok := cluster.TheRecord(r.role.cons.State().Read()); !ok {
		return local.StateStarting, "has not caught up with the cluster's state yet"
	}
	return local.StateRunning, ""
}

// worst is the state of the process that fares worst.
func (r *runtime) worst(names ...string) (local.State, string) {
	if !r.cfg.Children {
		return local.StateRunning, ""
	}
	views := r.kids.views()
	state, why := local.StateRunning, ""
	for _, name := range names {
		s, w := local.StateStarting, name+" is not started yet"
		for _, v := range views {
			if v.name == name {
				s, w = processState(v)
			}
		}
		if rank(s) > rank(state) {
			state, why = s, w
		}
	}
	return state, why
}

func rank(s local.State) int {
	switch s {
	case local.StateRunning:
		return 0
	case local.StateStarting:
		return 1
	}
	return 2
}

// processState turns a child's state into that of status.
func processState(v view) (local.State, string) {
	if v.err != nil {
		return local.StateFailed, v.err.Error()
	}
	why := v.name
	if v.status.Error != "" {
		why += ": " + v.status.Error
	}
	switch v.status.State {
	case supervise.Running:
		return local.StateRunning, ""
	case supervise.Starting, supervise.Stopping, "":
		return local.StateStarting, why
	case supervise.Stopped:
		return local.StateStopped, why
	}
	return local.StateFailed, why
}

// roleHealth is what a role's health check answers: nil if it does its duty.
func (r *runtime) roleHealth(ctx context.Context, role node.Role) error {
	a := r.dir.get()
	if !a.Self.Roles.Has(role) {
		return fmt.Errorf("the node does not have the role %s", role)
	}
	if s := r.oneRole(ctx, a, role); s.State != local.StateRunning {
		return errors.New(strings.TrimSuffix(string(s.State)+": "+s.Detail, ": "))
	}
	return nil
}

// serviceName is a role's name in Consul's catalog: a DNS label.
func serviceName(role node.Role) string { return strings.ReplaceAll(string(role), "_", "-") }

// serviceNames are the services that nodes may register.
func serviceNames() []string {
	var out []string
	for _, i := range node.Roles() {
		if i.Role != node.Base {
			out = append(out, serviceName(i.Role))
		}
	}
	return out
}

// newCatalog keeps this node's roles in Consul.
func newCatalog(r *runtime) (*catalog.Registrar, error) {
	return catalog.New(catalog.Config{
		Address: consulHTTP, Logger: r.log, Token: func() string { return r.dir.get().ConsulToken },
	})
}

// services are the catalog entries of the node: its roles that run.
func (r *runtime) services(a cluster.Assignment) []catalog.Service {
	out := []catalog.Service{}
	if !r.cfg.Children {
		return out
	}
	running := a.Self.Roles.Without(a.Self.StoppedRoles).Without(a.Self.Roles.NotInstalled())
	for _, role := range running.List() {
		if role == node.Base {
			continue
		}
		s := catalog.Service{
			Name: serviceName(role), Address: a.Self.Address,
			Tags:     []string{"zone=" + a.Self.Zone, "version=" + a.Self.Version},
			CheckURL: fmt.Sprintf("http://127.0.0.1:%d/v1/roles/%s", r.cfg.Ports.HTTP, role),
		}
		if role == node.Controller {
			s.Port = a.Self.RPCPort
		}
		out = append(out, s)
	}
	return out
}
