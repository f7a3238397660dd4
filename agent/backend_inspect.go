package agent

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/fence"
	"github.com/stackato/stackato/agent/inspect"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/agent/supervise"
	"github.com/stackato/stackato/agent/supervise/consul"
	"github.com/stackato/stackato/agent/supervise/nomad"
	"github.com/stackato/stackato/internal/buildinfo"
)

// Inspect implements local.InfoBackend.
func (b *backend) Inspect(ctx context.Context, names []string, p local.Progress) ([]local.Finding, error) {
	cfg := b.a.cfg
	env := inspect.Env{
		Now: cfg.Now, Version: buildinfo.Version, DataDir: cfg.DataDir, Files: inspect.SecretFiles(cfg.DataDir),
		Docker: b.a.dockerInfo, Programs: b.a.programs, Logger: b.a.log,
		Ports: inspect.NodePorts(node.Node{RPCPort: cfg.Ports.RPC, GossipPort: cfg.Ports.Gossip}, true, b.a.listens()),
	}
	if r := b.a.current(); r != nil {
		r.describe(&env)
	}
	return inspect.Run(ctx, env, names, func(name string) { p(local.Step{Name: name, State: local.StepStarted}) })
}

// listens says where the agent's own ports are.
func (a *Agent) listens() inspect.Processes {
	p := a.cfg.Ports
	return inspect.Processes{
		Agent: os.Getpid(), HealthPort: p.HTTP, Platform: a.platform != nil,
		APIPort: p.API, HTTPPort: p.RouterHTTP, HTTPSPort: p.RouterHTTPS, RouterHealthPort: p.RouterHealth,
	}
}

// describe fills in what a member knows.
func (r *runtime) describe(env *inspect.Env) {
	a := r.dir.get()
	env.Configured, env.Micro, env.Self, env.Nodes = true, a.Micro, a.Self, a.Nodes
	env.Voter, env.ClusterID = a.IsVoter(), a.ClusterID
	env.Certificate = r.creds.leaf()
	env.Authorities, _ = pki.ParseBundle(a.Authorities) // what cannot be parsed was never taken over
	env.SiteCertificates = r.siteCertificates()
	env.Clocks, env.Quorum, env.Gossip = r.clocks, r.quorum, r.gossipSeen
	if env.Platform = r.agent.platform != nil; env.Platform {
		env.Apps = r.appDifferences
	}
	pids := r.agent.listens()
	for _, p := range r.processes() {
		switch p.Name {
		case "consul":
			pids.Consul = p.PID
		case "nomad":
			pids.Nomad = p.PID
		}
	}
	env.Ports = inspect.NodePorts(a.Self, a.IsVoter(), pids)
	env.Consul = r.consulSeen
	if !r.cfg.Children { // for tests of the agent alone
		env.Ports = slices.DeleteFunc(env.Ports, func(p inspect.Port) bool { return p.Owner != "agent" })
	}
	if r.role != nil {
		env.DiskErr = r.role.cons.DiskErr
	}
	if d, err := partOf[*dea](r, node.DEA); err == nil {
		env.Image = d.fence.HasImages
	}
}

// clocks compares the other nodes' clocks with ours; half the round trip is
// taken for the way there.
func (r *runtime) clocks(ctx context.Context) ([]inspect.Offset, error) {
	var out []inspect.Offset
	for _, s := range r.askAll(ctx) {
		if s.node.ID == r.id.ID {
			continue
		}
		o := inspect.Offset{Node: s.node.Name, Err: s.err}
		if s.err == nil {
			o.Offset = s.Now.Sub(s.asked.Add(s.took / 2))
		}
		out = append(out, o)
	}
	return out, nil
}

func (r *runtime) quorum(ctx context.Context) (inspect.Quorum, error) {
	t, err := r.anyTopology(ctx)
	if err != nil {
		return inspect.Quorum{}, err
	}
	var q inspect.Quorum
	answers := map[node.ID]bool{}
	for _, s := range r.askAll(ctx) {
		answers[s.node.ID] = s.err == nil
	}
	for _, n := range t.Nodes {
		if n.ID == t.Primary {
			q.Primary = n.Name
		}
		if slices.Contains(t.Voters, n.ID) {
			q.Voters = append(q.Voters, inspect.Voter{Name: n.Name, Alive: answers[n.ID]})
		}
	}
	if r.role != nil && r.role.inGroup() {
		s := r.role.cons.Stats()
		q.Member, q.Leads = true, t.Primary == r.id.ID
		q.Applied, q.Commit, q.LastContact = s.Applied, s.CommitIndex, s.LastContact
	}
	return q, nil
}

// appDifferences asks the Primary, who compares anyway.
func (r *runtime) appDifferences(ctx context.Context) (inspect.Apps, error) {
	out, err := ask(ctx, r, methodApps, &rpc.Empty{})
	if err != nil {
		return inspect.Apps{}, err
	}
	return *out, nil
}

func (r *runtime) gossipSeen(context.Context) ([]inspect.Seen, error) {
	var out []inspect.Seen
	for _, m := range r.gossip.Members() {
		out = append(out, inspect.Seen{ID: m.ID, Name: m.Meta.Name, Address: m.Addr.Addr().String(), State: r.gossipState(m.ID)})
	}
	return out, nil
}

func (r *runtime) consulSeen(ctx context.Context) ([]inspect.Seen, error) {
	c := consul.NewClient(consulHTTP, r.dir.get().ConsulToken)
	defer c.Close()
	members, err := c.Members(ctx)
	if err != nil {
		return nil, err
	}
	var out []inspect.Seen
	for _, m := range members {
		out = append(out, inspect.Seen{ID: node.ID(m.ID), Name: m.Name, Address: m.Address, State: m.Status})
	}
	return out, nil
}

// dockerInfo asks the Docker Engine what it is.
func (a *Agent) dockerInfo(ctx context.Context) (fence.Info, error) {
	e, err := fence.NewEngine(a.cfg.DockerSocket)
	if err != nil {
		return fence.Info{}, err
	}
	defer e.Close()
	return e.Info(ctx)
}

// programs tells which Consul and Nomad the node would run.
func (a *Agent) programs(ctx context.Context) []inspect.Program {
	needsNomad := true
	if r := a.current(); r != nil {
		as := r.dir.get()
		needsNomad = as.IsVoter() || runsClient(as)
	}
	var out []inspect.Program
	for _, p := range []inspect.Program{{Need: consul.Required, Needed: true}, {Need: nomad.Required, Needed: needsNomad}} {
		path := a.cfg.Consul
		if p.Need.Name == nomad.Required.Name {
			path = a.cfg.Nomad
		}
		bin, err := locate(ctx, p.Need, path)
		var wrong *supervise.BinaryError
		switch {
		case err == nil:
			p.Version, p.Path = bin.Version.String(), bin.Path
		case errors.As(err, &wrong) && len(wrong.Rejected) > 0:
			p.Version, p.Path = wrong.Rejected[0].Version.String(), wrong.Rejected[0].Path
		}
		p.Err = err
		out = append(out, p)
	}
	return out
}
