package main

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
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

func (f *fake) Roles(context.Context) ([]local.RoleView, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []local.RoleView
	for _, info := range node.Roles() {
		v := local.RoleView{RoleInfo: info, Required: info.Role == node.Base || info.Role == node.Controller}
		for _, n := range f.nodes {
			if n.Roles.Has(info.Role) {
				v.Nodes = append(v.Nodes, n.Name)
			}
		}
		out = append(out, v)
	}
	return out, nil
}

func (f *fake) groups() (node.Groups, error) {
	text := "edge: [router, harbor]\n"
	if f.mood == "badgroups" {
		text = "edge:\n  - roter\n"
	}
	g, err := node.ParseGroups([]byte(text))
	if err != nil {
		return nil, local.Errorf(local.CodeRefused, "correct the file", "/s/etc/kato/role_groups.yml: %v", err)
	}
	return g, nil
}

func (f *fake) Groups(context.Context) ([]local.GroupView, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g, err := f.groups()
	var out []local.GroupView
	for name, roles := range g {
		_, builtin := node.BuiltinGroups()[name]
		out = append(out, local.GroupView{Name: name, Roles: roles, Builtin: builtin})
	}
	slices.SortFunc(out, func(a, b local.GroupView) int { return strings.Compare(a.Name, b.Name) })
	return out, err
}

func (f *fake) ChangeRoles(_ context.Context, r local.RoleChange, _ local.Progress) (local.RoleChangeResult, error) {
	unlock, err := f.lock()
	if err != nil {
		return local.RoleChangeResult{}, err
	}
	defer unlock()
	n, err := f.find(r.Node)
	if err != nil {
		return local.RoleChangeResult{}, err
	}
	g, err := f.groups()
	if err != nil {
		return local.RoleChangeResult{}, err
	}
	want, err := r.Apply(n.Roles, g)
	if err != nil {
		return local.RoleChangeResult{}, err
	}
	out := local.RoleChangeResult{Node: n.Name, Before: n.Roles, Roles: want, Generation: n.Generation + 1}
	if missing := want.Without(n.Roles).NotInstalled(); missing != 0 {
		out.Warnings = append(out.Warnings, "this release does not have: "+missing.String())
	}
	if r.NoStart {
		out.Warnings = append(out.Warnings, "not started: use kato start")
	}
	n.Roles = want
	return out, nil
}

func (f *fake) Processes(_ context.Context, cluster bool) ([]local.Process, error) {
	out := []local.Process{{
		Node: f.self, Name: "consul", Roles: node.NewRoleSet(node.Base), State: local.StateRunning,
		PID: 42, StartedAt: start, Ready: true, Version: "1.21.5",
	}}
	if cluster {
		out = append(out, local.Process{Node: "n3", State: local.StateUnknown, Error: "no answer\nwithin 1.5 s\x1b[31m"})
	}
	return out, nil
}

func (f *fake) ProcessRestart(ctx context.Context, name string, p local.Progress) (local.Process, error) {
	procs, err := f.Processes(ctx, false)
	if name != "consul" {
		return local.Process{}, local.Errorf(local.CodeNotFound, "see kato process list", "there is no process %q", name)
	}
	return procs[0], err
}

func (f *fake) ProcessReady(ctx context.Context, name string) (local.Readiness, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ready > 0 {
		f.ready--
		return local.Readiness{Waiting: []local.Process{{Node: f.self, Name: "nomad", State: local.StateStarting}}}, nil
	}
	return local.Readiness{Ready: true}, nil
}

func (f *fake) ControlRoles(_ context.Context, r local.RoleControl, _ local.Progress) (local.RoleControlResult, error) {
	state := local.StateRunning
	if r.Op == local.ControlStop {
		state = local.StateStopped
	}
	g := node.BuiltinGroups()
	roles, err := g.Resolve(append(r.Names, "base")...)
	if err != nil {
		return local.RoleControlResult{}, local.Errorf(local.CodeNotFound, "", "%v", err)
	}
	out := local.RoleControlResult{Node: f.self}
	for _, role := range roles.List() {
		out.Roles = append(out.Roles, local.RoleStatus{Role: role, State: state})
	}
	return out, nil
}

func (f *fake) ConfigList(_ context.Context, prefix string) ([]local.ConfigEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []local.ConfigEntry
	for k, v := range f.config {
		if strings.HasPrefix(k, prefix) {
			out = append(out, local.ConfigEntry{Key: k, Value: v, Type: jsonType(v), Set: true})
		}
	}
	slices.SortFunc(out, func(a, b local.ConfigEntry) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}

func (f *fake) ConfigSet(_ context.Context, r local.ConfigSetRequest) (local.ConfigEntry, error) {
	unlock, err := f.lock()
	if err != nil {
		return local.ConfigEntry{}, err
	}
	defer unlock()
	if old, ok := f.config[r.Key]; ok && jsonType(old) != jsonType(r.Value) && !r.Force {
		return local.ConfigEntry{}, local.Errorf(local.CodeRefused, "use --force to change the type",
			"%s is a %s, not a %s", r.Key, jsonType(old), jsonType(r.Value))
	}
	f.config[r.Key] = r.Value
	return local.ConfigEntry{Key: r.Key, Value: r.Value, Type: jsonType(r.Value), Set: true, Version: 2}, nil
}

func (f *fake) ConfigDel(_ context.Context, key string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.config[key]; !ok {
		return local.Errorf(local.CodeNotFound, "", "%s is not set", key)
	}
	delete(f.config, key)
	return nil
}

// jsonType names the type of a JSON value.
func jsonType(v json.RawMessage) string {
	switch v[0] {
	case '"':
		return "string"
	case '{':
		return "object"
	case '[':
		return "array"
	case 't', 'f':
		return "boolean"
	}
	return "number"
}

func (f *fake) TokenCreate(_ context.Context, r local.TokenCreateRequest) (local.NewToken, error) {
	roles, err := node.BuiltinGroups().Resolve(append(r.Roles, "base")...)
	if err != nil {
		return local.NewToken{}, local.Errorf(local.CodeNotFound, "", "%v", err)
	}
	return local.NewToken{Token: local.Token{ID: "abc", Uses: max(r.Uses, 1), ExpiresAt: start.Add(r.TTL), Roles: roles}, Secret: "good-token"}, nil
}

func (f *fake) TokenList(context.Context) ([]local.Token, error) {
	return []local.Token{{ID: "abc", Uses: 1, ExpiresAt: start}, {ID: "old", Expired: true, ExpiresAt: start}}, nil
}

func (f *fake) TokenRevoke(_ context.Context, id string) error {
	if id != "abc" {
		return local.Errorf(local.CodeNotFound, "see kato token list", "there is no token %q", id)
	}
	return nil
}

func (f *fake) UserResetAdmin(context.Context) (local.Credentials, error) {
	return local.Credentials{Username: "admin", Password: "n3w"}, nil
}

func (f *fake) Rotate(_ context.Context, what local.RotateWhat, p local.Progress) (local.RotateResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p(local.Step{Name: "make the key", State: local.StepDone, Index: 1, Total: 2})
	if f.mood == "failing" {
		p(local.Step{Name: "give it to n3", State: local.StepFailed, Index: 2, Total: 2})
		return local.RotateResult{}, local.Errorf(local.CodeUnavailable, "start it again", "n3 does not answer")
	}
	return local.RotateResult{What: what, KeyID: "k2", Pending: []string{"n3"}}, nil
}
