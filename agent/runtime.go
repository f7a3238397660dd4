package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/stackato/stackato/agent/apptail"
	"github.com/stackato/stackato/agent/catalog"
	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/member"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
)

// runtime is one life of the machine as a member of a cluster.
type runtime struct {
	cfg   Config
	log   *slog.Logger
	store store
	id    identity
	agent *Agent

	creds  *credentials
	dir    *directory
	server *rpc.Server
	client *rpc.Client
	gossip *member.Gossip
	kids   *children
	role   *controllerRole // nil without the controller role
	cat    *catalog.Registrar
	parts  *roleParts
	logs   *apptail.Store // nil without a platform

	// ending gets the reason why this life is over: what to do before the
	// next one begins (nil: nothing).
	ending chan func() error

	renewals renewals
	taken    taken
	told     told

	removedMu sync.Mutex
	removed   error // why the cluster does not know this node any more
}

// pingTimeout is when a connection to a node counts as dead, 0 for that of
// agent/rpc. Tests set it before they begin.
var pingTimeout time.Duration

// newRuntime reads what the node has on disk. It starts nothing.
func newRuntime(a *Agent) (*runtime, error) {
	id, _, err := a.store.identity()
	if err != nil {
		return nil, err
	}
	assignment, err := a.store.assignment()
	if err != nil {
		return nil, err
	}
	key, err := a.store.key()
	if err != nil {
		return nil, err
	}
	r := &runtime{
		cfg: a.cfg, log: a.log.With("node", id.Name), store: a.store, id: id, agent: a,
		creds:  newCredentials(id.ClusterID, key, a.cfg.Now),
		dir:    newDirectory(assignment),
		ending: make(chan func() error, 1),
	}
	if err := r.creds.load(a.cfg.certFile(), assignment.Authorities); err != nil {
		return nil, err
	}
	r.dir.primary, r.dir.tables = r.primary, r.ownTables
	r.client = rpc.NewClient(r.creds, rpc.ClientConfig{Observe: a.http.observeRPC, PingTimeout: pingTimeout})
	r.kids = newChildren(r)
	r.parts = newRoleParts(r)
	if r.cat, err = newCatalog(r); err != nil {
		return nil, err
	}
	return r, nil
}

// run starts everything in order, and stops it in reverse order when ctx is
// done or this life is over; started is called in between. It returns what to
// do before the next life.
func (r *runtime) run(ctx context.Context, started func()) (again func() error, err error) {
	parts := newLifecycle(ctx)
	defer r.client.Close()
	if err := r.start(ctx, parts); err != nil {
		return nil, errors.Join(err, parts.stop())
	}
	started()
	r.clearRole(ctx)
	select {
	case <-ctx.Done():
	case err = <-parts.failed:
	case again = <-r.ending:
	}
	return again, errors.Join(err, parts.stop())
}

// start brings the parts up: trust first, then those who need it. When it
// fails, nothing of it is left.
func (r *runtime) start(ctx context.Context, parts *lifecycle) (err error) {
	if err := r.renewOffline(); err != nil {
		return err
	}
	a := r.dir.get()
	l, err := net.Listen("tcp", net.JoinHostPort(a.Self.Address, fmt.Sprint(a.Self.RPCPort)))
	if err != nil {
		return fmt.Errorf("RPC: %w (is the address %s still this machine's?)", err, a.Self.Address)
	}
	defer func() {
		if err == nil {
			return
		}
		err = errors.Join(err, l.Close())
		if r.role != nil {
			err = errors.Join(err, r.role.cons.Close())
		}
	}()
	r.server, err = rpc.NewServer(rpc.Config{
		Listener: l, Credentials: r.creds, Members: r.dir, Logger: r.log,
		Observe: r.agent.http.observeRPC, AdmitRaft: r.admitRaft,
	})
	if err != nil {
		return err
	}
	if r.agent.platform != nil {
		if r.logs, err = apptail.OpenStore(apptail.StoreConfig{Dir: r.cfg.path("logs", "apps"), Log: r.log}); err != nil {
			return err
		}
	}
	if a.Self.Roles.Has(node.Controller) {
		if r.role, err = openController(ctx, r); err != nil {
			return err
		}
	}
	cluster.Serve(r.server, r.controller)
	serveNode(r.server, r)
	servePlatform(r.server, r)
	if r.gossip, err = r.newGossip(a); err != nil {
		return err
	}
	parts.start("RPC", r.server.Run)
	if r.role != nil {
		parts.start("consensus", r.role.cons.Run)
		parts.start("controller", r.role.run)
	}
	if r.logs != nil {
		parts.start("logs of apps", r.logs.Run)
	}
	parts.start("gossip", r.gossip.Run)
	parts.start("Consul and Nomad", r.kids.run)
	if r.cfg.Children { // else the Consul on this machine is somebody else's
		parts.start("catalog", r.cat.Run)
	}
	parts.start("roles", r.parts.run)
	if r.role != nil && r.role.cloud != nil {
		parts.start("Cloud Controller", r.role.cloud.Run)
	}
	parts.start("assignment", r.follow)
	parts.start("checks", r.checks)
	parts.start("announcement", r.announce)
	return nil
}

// controller implements cluster.Current.
func (r *runtime) controller() *cluster.Controller {
	if r.role == nil {
		return nil
	}
	return r.role.ctl
}

// primary is the Primary as this node knows it, "" if it does not. Nodes
// without Raft know it from their assignment.
func (r *runtime) primary() node.ID {
	if r.role == nil || !r.role.inGroup() {
		return r.dir.get().Primary
	}
	id, _, _ := r.role.cons.Leader()
	return id
}

// ownTables looks a node up in the tables of this controller.
func (r *runtime) ownTables(id node.ID, since uint64) (n node.Node, belongs, shown bool) {
	if r.role == nil {
		return n, false, false
	}
	return r.role.ctl.Known(id, since)
}

// admitRaft lets a voter in that this node's own tables do not show yet: a
// starting controller learns of members only through Raft itself.
func (r *runtime) admitRaft(id pki.Identity) bool {
	if r.role == nil {
		return false
	}
	servers, _ := r.role.cons.Servers()
	if len(servers) == 0 { // new here: the leader's first contact tells us
		return slices.Contains(id.DNSNames, pki.ConsulServerName) // only voters have it
	}
	for _, s := range servers {
		if s.ID == id.ID {
			return true
		}
	}
	return false
}

func (r *runtime) newGossip(a cluster.Assignment) (*member.Gossip, error) {
	profile := member.LAN
	if r.cfg.Timing == "wan" {
		profile = member.WAN
	}
	return member.New(member.Config{
		ID: r.id.ID, Name: r.id.Name, ClusterID: r.id.ClusterID,
		BindAddr: a.Self.Address, AdvertiseAddr: a.Self.Address, Port: a.Self.GossipPort,
		Keys: a.GossipKeys, Profile: profile, Meta: r.gossipMeta, Seeds: r.gossipSeeds, Logger: r.log,
	})
}

func (r *runtime) gossipMeta() member.Meta {
	s := r.dir.get().Self
	addr, _ := netip.ParseAddr(s.Address) // checked when the node joined
	return member.Meta{
		Roles: s.Roles, Generation: s.Generation, Version: s.Version, Zone: s.Zone,
		Address: addr, RPCPort: uint16(s.RPCPort),
	}
}

func (r *runtime) gossipSeeds() []string {
	a := r.dir.get()
	var out []string
	for _, n := range a.Nodes {
		if n.ID != r.id.ID {
			out = append(out, n.GossipAddr())
		}
	}
	return out
}

// Alive implements cluster.Hints.
func (r *runtime) Alive(id node.ID) (bool, time.Time) {
	if id == r.id.ID {
		return true, time.Time{}
	}
	m, ok := r.gossip.Member(id)
	if !ok {
		return false, time.Time{}
	}
	return m.State == member.Alive || m.State == member.Suspect, m.Since
}

// over ends this life; next, if not nil, is done before another begins.
func (r *runtime) over(next func() error) {
	select {
	case r.ending <- next:
	default: // it is over already
	}
}
