package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/resolver"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/agent/supervise/consul"
	"github.com/stackato/stackato/agent/supervise/nomad"
	"github.com/stackato/stackato/agent/supervise/serfagent"
)

// primaryInterval is between two looks at Consul and Nomad. A change of the
// nodes wakes it at once.
const primaryInterval = 2 * time.Second

// primaryWork is what only the Primary does: the voters (cluster.Primary),
// and outside of Raft the access rights, metadata and membership lists of
// Consul and Nomad. All of it can be repeated; each round begins with a check
// that this node still leads.
type primaryWork struct {
	r    *runtime
	role *controllerRole
	core *cluster.Primary
}

// settled is what was found in place, by subject, so that a round does not ask
// for it again: until it changes, or settledFor has passed.
type settled map[string]struct {
	what string
	when time.Time
}

// settledFor is how long what was found in place is taken to be so.
const settledFor = 2 * time.Minute

// once runs do unless the same was done for subject not long ago.
func (s settled) once(subject, what string, do func() error) error {
	entry, ok := s[subject]
	if ok && entry.what == what && time.Since(entry.when) < settledFor {
		return nil
	}
	if err := do(); err != nil {
		return err
	}
	entry.what, entry.when = what, time.Now()
	s[subject] = entry
	return nil
}

func newPrimaryWork(r *runtime, role *controllerRole) *primaryWork {
	w := &primaryWork{r: r, role: role}
	w.core = &cluster.Primary{Controller: role.ctl, Servers: w, Applied: w.applied, Logger: r.log}
	return w
}

// run works until ctx, which ends with leadership, is done.
func (w *primaryWork) run(ctx context.Context, term uint64) {
	var wg sync.WaitGroup
	wg.Go(func() { w.core.Run(ctx, term) })
	if w.r.cfg.Children {
		// Each by itself: while Nomad waits for a node that does not answer, one
		// that joins needs its Consul token.
		wg.Go(func() { w.outside(ctx, term, "Consul", w.consul) })
		wg.Go(func() { w.outside(ctx, term, "Nomad", w.nomad) })
	}
	wg.Wait()
}

// applied asks a node how far it has applied the log.
func (w *primaryWork) applied(ctx context.Context, n node.Node) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	s, err := rpc.Call(ctx, w.r.client, rpc.Target{ID: n.ID, Addr: n.RPCAddr()}, methodStatus, &statusRequest{})
	if err != nil {
		return 0, err
	}
	if s.Raft == nil {
		return 0, errors.New("consensus does not run there yet")
	}
	return s.Raft.Applied, nil
}

// outside keeps one of Consul and Nomad in line.
func (w *primaryWork) outside(ctx context.Context, term uint64, which string, round func(context.Context, settled) error) {
	var last string
	done := settled{}
	for ctx.Err() == nil {
		_, changed := w.r.dir.watch()
		err := w.round(ctx, term, done, round)
		if text := fmt.Sprint(err); err != nil && text != last && ctx.Err() == nil {
			w.r.log.Warn("keep "+which+" in line; will go on trying", "err", err)
			last = text
		}
		pause := primaryInterval
		if err != nil {
			pause = primaryInterval / 4
		} else {
			last = ""
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(pause):
		}
	}
}

// round does everything once, if this node still leads.
func (w *primaryWork) round(ctx context.Context, term uint64, done settled, do func(context.Context, settled) error) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if w.role.cons.LeadTerm() != term {
		return nil
	}
	return do(ctx, done)
}

// consul gives every node its token and forgets servers and members that do
// not belong (any more).
func (w *primaryWork) consul(ctx context.Context, done settled) error {
	token, _, err := w.role.ctl.ManagementTokens()
	if err != nil {
		return err
	}
	c := consul.NewClient(consulHTTP, token)
	defer c.Close()
	if _, err := c.Leader(ctx); err != nil {
		return fmt.Errorf("consul: %w", err)
	}
	a := w.r.dir.get()
	for _, n := range a.Nodes {
		err := done.once("consul token of "+string(n.ID), n.Name, func() error { return w.ensureConsulToken(ctx, c, n) })
		if err != nil {
			return err
		}
	}
	peers, err := c.RaftPeers(ctx)
	if err != nil {
		return fmt.Errorf("consul: %w", err)
	}
	for _, p := range peers {
		if !w.isServer(a, p.ID) {
			w.r.log.Info("take a server that is none any more out of Consul", "node", p.Node)
			if err := c.RemovePeer(ctx, p.ID); err != nil {
				return fmt.Errorf("consul: %w", err)
			}
		}
	}
	members, err := c.Members(ctx)
	if err != nil {
		return fmt.Errorf("consul: %w", err)
	}
	for _, m := range members {
		if _, belongs := a.Find(node.ID(m.ID)); !belongs && m.Status != "left" {
			if err := c.ForceLeave(ctx, m.Name); err != nil {
				return fmt.Errorf("consul: %w", err)
			}
		}
	}
	return nil
}

// ensureConsulToken gives a node the token that its record holds.
func (w *primaryWork) ensureConsulToken(ctx context.Context, c *consul.Client, n node.Node) error {
	secret, err := w.role.ctl.ConsulNodeToken(n.ID)
	if err != nil {
		return nil //nolint:nilerr // removed meanwhile: nothing to give
	}
	if err := c.EnsureNodeToken(ctx, n.Name, string(n.ID), secret, serviceNames()); err != nil {
		return fmt.Errorf("consul token of %s: %w", n.Name, err)
	}
	return nil
}

// isServer reports whether a node should run a server. Those that did are
// kept in the voters until the others vote, see cluster.Primary.
func (w *primaryWork) isServer(a cluster.Assignment, id string) bool {
	return slices.Contains(a.Voters, node.ID(id))
}

// nomad bootstraps access control, writes roles and zones as node metadata,
// and forgets servers and clients that do not belong (any more).
func (w *primaryWork) nomad(ctx context.Context, done settled) error {
	_, token, err := w.role.ctl.ManagementTokens()
	if err != nil {
		return err
	}
	c := nomad.NewClient(nomadHTTP, token)
	defer c.Close()
	if _, err := c.Leader(ctx); err != nil {
		return fmt.Errorf("nomad: %w", err)
	}
	if err := done.once("nomad bootstrap", "", func() error { return c.BootstrapACL(ctx, token) }); err != nil {
		return fmt.Errorf("nomad: %w", err)
	}
	if err := done.once("nomad scheduler", "", func() error { return c.SpreadLoad(ctx) }); err != nil {
		return fmt.Errorf("nomad: %w", err)
	}
	a := w.r.dir.get()
	nodes, err := c.NodeList(ctx)
	if err != nil {
		return fmt.Errorf("nomad: %w", err)
	}
	for _, n := range nodes {
		if err := w.nomadNode(ctx, c, done, a, n); err != nil {
			return fmt.Errorf("nomad client %s: %w", n.Name, err)
		}
	}
	return w.nomadServers(ctx, c, a)
}

func (w *primaryWork) nomadNode(ctx context.Context, c *nomad.Client, done settled, a cluster.Assignment, n nomad.Node) error {
	member, belongs := a.Find(node.ID(n.ID))
	switch {
	case !belongs && n.Status == "down":
		return c.PurgeNode(ctx, n.ID)
	case !belongs, n.Status != "ready":
		delete(done, "nomad meta of "+n.ID)
		return nil // it is stopping, or cannot be asked now
	}
	want := roleMeta(member)
	return done.once("nomad meta of "+n.ID, fmt.Sprint(want), func() error { return w.setNomadMeta(ctx, c, n.ID, want) })
}

// setNomadMeta brings a running client's metadata in line.
func (w *primaryWork) setNomadMeta(ctx context.Context, c *nomad.Client, id string, want map[string]string) error {
	have, err := c.NodeMeta(ctx, id)
	if err != nil {
		return err
	}
	change := map[string]*string{}
	for k, v := range want {
		if have[k] != v {
			change[k] = &v
		}
	}
	for k := range have {
		if _, wanted := want[k]; !wanted && (strings.HasPrefix(k, "placement_zone_") || strings.HasPrefix(k, "role_")) {
			change[k] = nil
		}
	}
	if _, ok := have[metaResolver]; !ok { // started by an agent that did not give it: jobs name it
		own := resolver.Address.String()
		change[metaResolver] = &own
	}
	if len(change) == 0 {
		return nil
	}
	return c.SetNodeMeta(ctx, id, change)
}

func (w *primaryWork) nomadServers(ctx context.Context, c *nomad.Client, a cluster.Assignment) error {
	peers, err := c.RaftPeers(ctx)
	if err != nil {
		return fmt.Errorf("nomad: %w", err)
	}
	for _, p := range peers {
		if !w.isServer(a, p.ID) {
			w.r.log.Info("take a server that is none any more out of Nomad", "node", p.Node)
			if err := c.RemovePeer(ctx, p.ID); err != nil {
				return fmt.Errorf("nomad: %w", err)
			}
		}
	}
	members, err := c.ServerMembers(ctx)
	if err != nil {
		return fmt.Errorf("nomad: %w", err)
	}
	for _, m := range members {
		name, region, _ := strings.Cut(m.Name, ".")
		server := slices.ContainsFunc(a.Nodes, func(n node.Node) bool { return n.Name == name && slices.Contains(a.Voters, n.ID) })
		if !server && m.Status == "failed" {
			if err := c.ForceLeave(ctx, name, region); err != nil {
				return fmt.Errorf("nomad: %w", err)
			}
		}
	}
	return nil
}

// Voting implements cluster.Servers.
func (w *primaryWork) Voting(ctx context.Context, nodes []node.Node) bool {
	if !w.r.cfg.Children {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	consulToken, nomadToken, err := w.role.ctl.ManagementTokens()
	if err != nil {
		return false
	}
	cc, nc := consul.NewClient(consulHTTP, consulToken), nomad.NewClient(nomadHTTP, nomadToken)
	defer cc.Close()
	defer nc.Close()
	cp, err := cc.RaftPeers(ctx)
	if err != nil {
		return false
	}
	np, err := nc.RaftPeers(ctx)
	if err != nil {
		return false
	}
	for _, n := range nodes {
		if !serfagent.Votes(cp, string(n.ID)) || !serfagent.Votes(np, string(n.ID)) {
			return false
		}
	}
	return true
}
