package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/stackato/stackato/agent/cluster/seal"
	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

// Caller is who asks for an operation.
type Caller struct {
	ID         node.ID
	Controller bool // has the controller role now
}

// Hints is what the controller is told about other nodes by gossip. It is
// used for display, to choose whom to promote, and to refuse what would cost
// the quorum; never to remove or trust anybody at once.
type Hints interface {
	// Alive reports whether gossip sees the node, and since when that is so.
	Alive(id node.ID) (alive bool, since time.Time)
}

// Config of a [Controller]. Fields without "optional" are needed.
type Config struct {
	Self      node.ID
	Consensus *consensus.Node
	Ring      *seal.Ring
	RingFile  string // where the ring is kept, mode 0600
	Now       func() time.Time
	Hints     Hints
	// Admitted is called when a node has joined, before it hears of it:
	// what must be there when it starts is made now. Optional, best effort.
	Admitted func(ctx context.Context, n node.Node)
	// Removed is called when a node was taken out: what it could still do
	// elsewhere ends now. Optional, best effort.
	Removed func(ctx context.Context, n node.Node)
	Version string // of this build
	Logger  *slog.Logger
}

// Controller offers the cluster's operations on a node with the controller
// role. Any controller can do any of them: writes go to the Primary through
// consensus. It is safe for concurrent use.
type Controller struct {
	cfg  Config
	cons *consensus.Node
	log  *slog.Logger

	ringMu sync.Mutex // one change of the ring's file at a time
	ring   *seal.Ring
}

// NewController returns the operations on an open consensus node.
func NewController(cfg Config) *Controller {
	return &Controller{cfg: cfg, cons: cfg.Consensus, ring: cfg.Ring, log: cfg.Logger}
}

// Found writes the first rows. Calling it again with the same founding, as
// after a crash, does nothing.
func (c *Controller) Found(ctx context.Context, f Founding) error {
	_, err := cmdFound.Propose(ctx, c.cons, f, consensus.WithID("found/"+f.Record.ClusterID))
	return err
}

// read returns a view that shows every acknowledged write.
func (c *Controller) read(ctx context.Context) (*consensus.View, error) {
	if err := c.cons.ReadIndex(ctx); err != nil {
		return nil, err
	}
	return c.cons.State().Read(), nil
}

// secret opens a sealed value.
func (c *Controller) secret(r consensus.Reader, id string) ([]byte, error) {
	s, ok := consensus.Get[Secret](r, secretsTable, "id", id)
	if !ok {
		// Never "not found": that would tell a node that it does not belong.
		return nil, rpcerr.New(rpcerr.Internal, "the secret %s is missing", id)
	}
	plain, err := c.ring.Open(s.Sealed, []byte(id))
	if unknown := (seal.UnknownKeyError{}); errors.As(err, &unknown) {
		return nil, rpcerr.New(rpcerr.Unavailable, "secret %s: %w", id, err) // another controller can
	}
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", id, err)
	}
	return plain, nil
}

// Known looks a node up in this controller's tables, without asking anybody.
// shown is false if they do not show everything up to the index since: the
// controller has just started, or takes no part in Raft any more.
func (c *Controller) Known(id node.ID, since uint64) (n node.Node, belongs, shown bool) {
	v := c.cons.State().Read()
	if _, founded := TheRecord(v); !founded || v.Index() < since {
		return n, false, false
	}
	m, belongs := consensus.Get[Member](v, nodesTable, "id", string(id))
	return m.Node, belongs, true
}

// ManagementTokens returns the tokens with which the Primary administers
// Consul and Nomad.
func (c *Controller) ManagementTokens() (consul, nomad string, err error) {
	v := c.cons.State().Read()
	ct, err := c.secret(v, consulManagementSecret)
	if err != nil {
		return "", "", err
	}
	nt, err := c.secret(v, nomadManagementSecret)
	return string(ct), string(nt), err
}

// ConsulNodeToken returns the Consul token of a node.
func (c *Controller) ConsulNodeToken(id node.ID) (string, error) {
	t, err := c.secret(c.cons.State().Read(), consulNodeSecret(id))
	return string(t), err
}

// Topology is the nodes and who votes and leads, for display.
type Topology struct {
	Record  Record      `json:"record"`
	Nodes   []node.Node `json:"nodes"` // by name
	Voters  []node.ID   `json:"voters"`
	Primary node.ID     `json:"primary"` // "" while there is none
	// Nonvoters are controllers that follow the log.
	Nonvoters []node.ID `json:"nonvoters"`
}

// Topology reads what the cluster is. With fresh it shows every acknowledged
// write; without, it works also while there is no Primary.
func (c *Controller) Topology(ctx context.Context, fresh bool) (Topology, error) {
	if fresh {
		if err := c.cons.ReadIndex(ctx); err != nil {
			return Topology{}, err
		}
	}
	v := c.cons.State().Read()
	rec, ok := TheRecord(v)
	if !ok {
		return Topology{}, rpcerr.New(rpcerr.Unavailable, "this controller has not caught up yet")
	}
	t := Topology{Record: rec, Nodes: []node.Node{}, Voters: []node.ID{}, Nonvoters: []node.ID{}}
	for _, m := range Members(v) {
		t.Nodes = append(t.Nodes, m.Node)
	}
	servers, _ := c.cons.Servers()
	for _, s := range servers {
		if s.Voter {
			t.Voters = append(t.Voters, s.ID)
		} else {
			t.Nonvoters = append(t.Nonvoters, s.ID)
		}
	}
	if id, _, ok := c.cons.Leader(); ok {
		t.Primary = id
	}
	return t, nil
}

// RoleRequest changes the roles of a node.
type RoleRequest struct {
	Node       node.ID       `json:"node"`
	Roles      node.RoleSet  `json:"roles"`
	Generation uint64        `json:"generation"` // that the change was computed from
	Stopped    *node.RoleSet `json:"stopped,omitempty"`
}

// SetRoles changes the role set of a node. A controller may do that to any;
// another node only to itself, within what its join token allowed.
func (c *Controller) SetRoles(ctx context.Context, by Caller, r RoleRequest) (node.Node, error) {
	v, err := c.read(ctx)
	if err != nil {
		return node.Node{}, err
	}
	m, ok := FindMember(v, string(r.Node))
	if !ok {
		return node.Node{}, rpcerr.New(rpcerr.NotFound, "no node %q", r.Node).WithHint("see: kato node list")
	}
	if !by.Controller {
		added := r.Roles.Without(m.Roles)
		if by.ID != m.ID {
			return node.Node{}, rpcerr.New(rpcerr.Denied, "only a controller may change the roles of another node").
				WithHint("run the command on a controller")
		}
		if denied := added.Without(m.AllowedRoles); denied != 0 {
			return node.Node{}, rpcerr.New(rpcerr.Denied, "this node's join token did not allow the role %s", denied).
				WithHint("run the command on a controller: kato role add %s --node %s", denied, m.Name)
		}
	}
	out, err := cmdRoles.Propose(ctx, c.cons, rolesInput{ID: m.ID, Roles: r.Roles, Generation: r.Generation, Stopped: r.Stopped})
	return out.Node, err
}

// NodeUpdate changes what is not its roles; nil fields stay.
type NodeUpdate struct {
	Node         node.ID       `json:"node"`
	Zone         *string       `json:"zone,omitempty"`
	AddPlacement []string      `json:"add_placement,omitempty"`
	DelPlacement []string      `json:"del_placement,omitempty"`
	Stopped      *node.RoleSet `json:"stopped,omitempty"`
	Version      *string       `json:"version,omitempty"`
	// Capabilities are the commands that a controller's build knows.
	Capabilities consensus.Capabilities `json:"capabilities,omitempty"`
}

// UpdateNode changes a node's record. A controller may do that to any node,
// another node only to itself.
func (c *Controller) UpdateNode(ctx context.Context, by Caller, u NodeUpdate) (node.Node, error) {
	if !by.Controller && by.ID != u.Node {
		return node.Node{}, rpcerr.New(rpcerr.Denied, "only a controller may change another node").WithHint("run the command on a controller")
	}
	zones := slices.Concat(u.AddPlacement, u.DelPlacement)
	if u.Zone != nil {
		zones = append(zones, *u.Zone)
	}
	for _, z := range zones {
		if err := node.CheckZone(z); err != nil {
			return node.Node{}, rpcerr.New(rpcerr.Invalid, "%v", err)
		}
	}
	if u.Version != nil && len(*u.Version) > maxVersion {
		return node.Node{}, rpcerr.New(rpcerr.Invalid, "the version has %d bytes, at most %d are kept", len(*u.Version), maxVersion)
	}
	if err := c.report(ctx, u); err != nil {
		return node.Node{}, err
	}
	m, err := cmdNodeUpdate.Propose(ctx, c.cons, nodeUpdate{
		ID: u.Node, Zone: u.Zone, AddPlacement: u.AddPlacement, DelPlacement: u.DelPlacement,
		Stopped: u.Stopped, Version: u.Version,
	})
	return m.Node, err
}

// report passes on which commands a controller's build knows.
func (c *Controller) report(ctx context.Context, u NodeUpdate) error {
	if u.Capabilities == nil {
		return nil
	}
	v, err := c.read(ctx)
	if err != nil {
		return err
	}
	m, ok := consensus.Get[Member](v, nodesTable, "id", string(u.Node))
	switch {
	case !ok:
		return rpcerr.New(rpcerr.NotFound, "no node %q", u.Node).WithHint("see: kato node list")
	case !m.Roles.Has(node.Controller):
		return nil // what it knows matters when it gets the role, and it tells again then
	}
	return c.cons.Report(ctx, u.Node, u.Capabilities)
}

// PutSetting writes a setting.
func (c *Controller) PutSetting(ctx context.Context, key string, value []byte, force bool, ifVersion *uint64) (Setting, error) {
	if k, known := knownSetting(key); known {
		if err := k.check(value, force); err != nil {
			return Setting{}, err
		}
	}
	return cmdSettingPut.Propose(ctx, c.cons, settingInput{Key: key, Value: value, Now: c.cfg.Now(), Force: force, IfVersion: ifVersion})
}

// DelSetting removes a setting; a known one falls back to its default.
func (c *Controller) DelSetting(ctx context.Context, key string) error {
	_, err := cmdSettingDel.Propose(ctx, c.cons, key)
	return err
}

// ListSettings returns the settings at or below prefix.
func (c *Controller) ListSettings(ctx context.Context, prefix string) ([]Setting, error) {
	v, err := c.read(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(Settings(v), func(s Setting) bool { return !Below(s.Key, prefix) }), nil
}

var errNoController = rpcerr.New(rpcerr.Unavailable, "this node is not a controller").WithHint("ask another node")
