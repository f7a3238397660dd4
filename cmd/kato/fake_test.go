package main

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
)

// fake is a cluster of three nodes in memory: n1 (Primary, answers), n2 (a
// dea) and n3 (mysql, down). Scripts change its mood with "backend MOOD".
type fake struct {
	local.Backend // what no script calls would panic, and the server says so

	mu      sync.Mutex
	self    string
	mood    string
	nodes   []local.NodeView
	config  map[string]json.RawMessage
	ready   int // polls until ready
	forward func(context.Context, string, local.ForwardRequest) (local.ForwardResponse, error)
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newFake(self string) *fake {
	mk := func(name, addr, gossip, voter string, roles ...node.Role) local.NodeView {
		return local.NodeView{
			Node: node.Node{
				ID: node.ID("00000000-0000-4000-8000-0000000000" + name), Name: name, Address: addr,
				Zone: "default", Version: "0.1.0", JoinedAt: start, Generation: 1,
				Roles: node.NewRoleSet(roles...).With(node.NewRoleSet(node.Base)),
			},
			Voter: voter, Primary: voter == local.VoterPrimary, Gossip: gossip, Self: name == self,
		}
	}
	return &fake{self: self, config: map[string]json.RawMessage{"cluster/max_mb": []byte("100")}, nodes: []local.NodeView{
		mk("n1", "10.0.0.1", "alive", local.VoterPrimary, node.Controller, node.Router),
		mk("n2", "10.0.0.2", "alive", local.VoterNone, node.DEA),
		mk("n3", "10.0.0.3", "dead", local.VoterNone, node.MySQL),
	}}
}

// lock refuses by mood, and holds the lock until the returned function.
func (f *fake) lock() (func(), error) {
	f.mu.Lock()
	switch f.mood {
	case "noprimary":
		f.mu.Unlock()
		return nil, local.Errorf(local.CodeNoPrimary, "see kato status for the voters", "no Primary was elected within 5 s")
	case "unconfigured":
		f.mu.Unlock()
		return nil, local.Errorf(local.CodeUnconfigured, "use kato node setup or kato node attach", "this machine is in no cluster")
	}
	return f.mu.Unlock, nil
}

func (f *fake) find(name string) (*local.NodeView, error) {
	if name == "" {
		name = f.self
	}
	i := slices.IndexFunc(f.nodes, func(n local.NodeView) bool { return n.Name == name || n.Address == name })
	if i < 0 {
		return nil, local.Errorf(local.CodeNotFound, "see kato node list", "there is no node %q", name)
	}
	return &f.nodes[i], nil
}

func (f *fake) Forward(ctx context.Context, name string, r local.ForwardRequest) (local.ForwardResponse, error) {
	return f.forward(ctx, name, r)
}

func (f *fake) Info(context.Context) (local.Info, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := local.Info{
		Type: local.TypeUnconfigured, Name: f.self, Version: "0.1.0", StartedAt: start,
		AvailableRoles: node.NewRoleSet(node.Base, node.Controller, node.DEA),
		Paths:          map[string]string{"data": "/var/lib/stackato"},
	}
	if f.mood == "unconfigured" {
		return out, nil
	}
	n, err := f.find("")
	out.Type, out.Configured, out.ID, out.Address, out.Zone = local.TypeNode, true, n.ID, n.Address, n.Zone
	out.ClusterID, out.AssignedRoles, out.Voter, out.Primary = "c1", n.Roles, n.Voter, "n1"
	return out, err
}

func (f *fake) Version(context.Context) (local.Version, error) {
	return local.Version{Agent: "0.1.0+" + f.self, Go: "go1.26", Consul: "1.21.5", Nomad: "1.10.4"}, nil
}

func (f *fake) Status(_ context.Context, all bool) (local.Status, error) {
	unlock, err := f.lock()
	if err != nil {
		return local.Status{}, err
	}
	defer unlock()
	s := local.Status{ClusterID: "c1", Primary: "n1", Voters: []string{"n1"}, Notes: []string{"not redundant: one voter"}}
	for _, n := range f.nodes {
		if !all && n.Name != f.self {
			continue
		}
		ns := local.NodeStatus{Name: n.Name, Address: n.Address, Reachable: true, Gossip: n.Gossip, Voter: n.Voter, Version: n.Version}
		if n.Name == "n3" && f.mood != "well" {
			ns.Reachable, ns.Version, ns.Error = false, "", "no answer within 1.5 s"
		}
		for _, r := range n.Roles.List() {
			st := local.RoleStatus{Role: r, State: local.StateRunning}
			switch {
			case !ns.Reachable:
				st.State = local.StateUnknown
			case node.NewRoleSet(r).NotInstalled() != 0:
				st.State = local.StateNotInstalled
			}
			ns.Roles = append(ns.Roles, st)
		}
		s.Nodes = append(s.Nodes, ns)
	}
	return s, nil
}

func (f *fake) Inspect(_ context.Context, names []string, p local.Progress) ([]local.Finding, error) {
	all := []local.Finding{
		{Check: "clock", Status: local.FindingOK, Detail: "3 ms off"},
		{Check: "disk", Status: local.FindingFail, Detail: "98 % full", Remedy: "free space under /var/lib/stackato"},
	}
	if len(names) == 0 {
		return all, nil
	}
	for _, c := range all {
		if c.Check == names[0] {
			return []local.Finding{c}, nil
		}
	}
	return nil, local.Errorf(local.CodeNotFound, "kato inspect runs all", "there is no check %q", names[0])
}

func (f *fake) Init(_ context.Context, r local.InitRequest, p local.Progress) (local.InitResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mood != "unconfigured" {
		return local.InitResult{}, local.Errorf(local.CodeRefused, "see kato info", "this machine is in a cluster already")
	}
	p(local.Step{Name: "make the cluster CA", State: local.StepStarted, Index: 1, Total: 2})
	p(local.Step{Name: "make the cluster CA", State: local.StepDone, Index: 1, Total: 2})
	p(local.Step{Name: "elect", State: local.StepDone, Index: 2, Total: 2, Detail: r.Domain})
	f.mood = ""
	return local.InitResult{
		ClusterID: "c1", Node: "n1", Admin: &local.Credentials{Username: "admin", Password: "s3cret"},
		AdminFile: "/var/lib/stackato/admin", Warnings: []string{"roles not installed: router"},
	}, nil
}

func (f *fake) Join(_ context.Context, r local.JoinRequest, _ local.Progress) (local.JoinResult, error) {
	if r.Token != "good-token" {
		return local.JoinResult{}, local.Errorf(local.CodeRefused, "make one: kato token create", "the token is not valid")
	}
	return local.JoinResult{ClusterID: "c1", Node: "n4", Primary: r.Primaries[0], Roles: node.NewRoleSet(node.Base)}, nil
}

func (f *fake) Leave(_ context.Context, r local.LeaveRequest, _ local.Progress) error {
	if f.self == "n1" && !r.Force {
		return local.Errorf(local.CodeRefused, "attach another controller first, or use --force", "this is the last controller")
	}
	return nil
}

func (f *fake) Nodes(context.Context) ([]local.NodeView, error) {
	unlock, err := f.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	return slices.Clone(f.nodes), nil
}

func (f *fake) NodeRemove(_ context.Context, r local.NodeRemoveRequest, _ local.Progress) error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	n, err := f.find(r.Node)
	if err != nil {
		return err
	}
	if n.Gossip == "alive" && !r.Force {
		return local.Errorf(local.CodeRefused, "kato node detach --node "+n.Name, "node %s still answers", n.Name)
	}
	f.nodes = slices.DeleteFunc(f.nodes, func(v local.NodeView) bool { return v.Name == n.Name })
	return nil
}

func (f *fake) NodeSetZone(_ context.Context, r local.ZoneRequest) (local.NodeView, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.find(r.Node)
	if err != nil {
		return local.NodeView{}, err
	}
	n.Zone = r.Zone
	return *n, node.CheckZone(r.Zone)
}

func (f *fake) PlacementZones(_ context.Context, r local.PlacementZonesRequest) (local.PlacementZones, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.find(r.Node)
	if err != nil {
		return local.PlacementZones{}, err
	}
	n.PlacementZones = slices.DeleteFunc(slices.Concat(n.PlacementZones, r.Add), func(z string) bool { return slices.Contains(r.Remove, z) })
	return local.PlacementZones{Node: n.Name, Zones: slices.Clone(n.PlacementZones)}, nil
}
